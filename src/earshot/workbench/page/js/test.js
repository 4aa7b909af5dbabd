// The listening test on the screen: a question at a time, then the score card.

import {bar, tie} from './answers.js';
import {packed, unpack} from './assets.js';
import {card} from './card.js';
import {$, h} from './dom.js';
import {together} from './files.js';
import {Quiz, authored} from './quiz.js';
import {Chosen, guarded} from './source.js';
import {spectrogram} from './spectrogram.js';
import {Refused} from './refused.js';
import {t} from './words.js';

const COUNT = 10; // questions, where none are asked for
const SEEDS = 9999;

export class Test {
  constructor(models, items, files) {
    Object.assign(this, {models, items, files, panel: $('test'), quiz: null});
    this.place = this.panel.querySelector('.place');
    this.player = new Audio();
    this.chosen = new Chosen(this.panel, models, 'choice');
    this.form = this.panel.querySelector('form');
    const asked = new URLSearchParams(location.search),
      {seed, count, own} = this.form;
    seed.value = asked.get('seed') ?? 1 + Math.floor(Math.random() * SEEDS);
    count.value = asked.get('count') ?? Math.min(COUNT, items.length);
    this.form.onsubmit = guarded(this.panel, () => this.start());
    own.onchange = guarded(this.panel, () => this.take([...own.files]));
    this.panel.addEventListener('keydown', (event) => this.key(event));
    document.addEventListener('spoken', () => this.draw());
  }

  /** Questions of one's own: a YAML file and the sounds that it names. */
  async take(chosen) {
    const isText = ({name}) => /\.ya?ml$/i.test(name),
      text = chosen.find(isText);
    if (!text) throw new Refused('choose yaml');
    const code = await unpack(await packed('yaml.mjs', this.files));
    const yaml = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
    const sounds = chosen.filter((file) => !isText(file));
    this.items = await authored(yaml, await text.text(), sounds);
    this.form.count.value = this.items.length;
    await this.start();
  }

  async start() {
    const {seed, count} = this.form,
      all = this.items.length;
    count.max = all;
    count.value = Math.max(1, Math.min(all, Math.trunc(+count.value) || COUNT));
    this.quiz = new Quiz(this.items, Math.trunc(+seed.value) || 0, +count.value);
    await this.show();
  }

  /** Show the next question, or the card behind the last. */
  async show() {
    const {quiz} = this;
    this.player.pause();
    this.row = this.result = this.sound = null;
    this.draw();
    this.place.querySelector('h2').focus();
    if (quiz.done) return;
    this.loading = quiz.item
      .files()
      .then(together)
      .then((sound) => {
        URL.revokeObjectURL(this.player.src);
        this.player.src = URL.createObjectURL(sound.blob);
        return sound;
      });
    await this.loading;
  }

  /** Play the sound, as soon as it is there; it is counted at once. */
  async play() {
    const {item} = this.quiz;
    this.quiz.plays += 1;
    this.place.querySelector('.plays').textContent = t('plays', {n: this.quiz.plays});
    await this.loading;
    if (this.quiz?.item !== item) return; // the next question has come meanwhile
    this.player.currentTime = 0;
    await this.player.play();
  }

  /** What the person chose stands; the student answers, and both are shown. */
  async check() {
    const picked = this.place.querySelector('input:checked'),
      {quiz} = this;
    if (!picked || this.row) return;
    const chosen = +picked.value,
      {question, options} = quiz.item,
      button = this.place.querySelector('.check');
    button.disabled = true;
    try {
      const {samples, rate} = await this.loading,
        {name} = this.chosen.student;
      this.result = await this.models.call('answer', {name, samples, rate, question, options});
    } finally {
      button.disabled = false;
    }
    this.row = quiz.note(chosen, this.result);
    this.reveal();
    this.place.querySelector('.next').focus();
  }

  draw() {
    this.form.hidden = Boolean(this.quiz && !this.quiz.done);
    if (!this.quiz) return this.place.replaceChildren();
    if (this.quiz.done) return this.place.replaceChildren(...card(this.quiz));
    const {
        quiz,
        quiz: {item, place, items},
      } = this,
      all = items.length;
    const play = h('button.main.play', {type: 'button'}, `▶ ${t('play')}`);
    const check = h('button.main.check', {type: 'submit'}, t('check'));
    const next = h(
      'button.main.next',
      {type: 'button', hidden: true},
      t(place + 1 < all ? 'next' : 'to card'),
    );
    const over = h('button', {type: 'button'}, t('start over'));
    const form = h(
      'form',
      {},
      h('fieldset', {}, h('legend', {}, item.question), item.options.map(option)),
      h('div.row', {}, check, next),
    );
    play.onclick = guarded(this.panel, () => this.play());
    over.onclick = () => {
      this.player.pause();
      this.quiz = null;
      this.draw();
      this.form.seed.focus();
    };
    next.onclick = guarded(this.panel, () => (quiz.next(), this.show()));
    form.onsubmit = guarded(this.panel, () => this.check());
    this.place.replaceChildren(
      h('div.bar', {}, h('h2', {tabIndex: -1}, t('question of', {n: place + 1, all})), over),
      h('progress', {max: all, value: place, 'aria-label': t('questions done')}),
      h(
        'div.row',
        {},
        play,
        h('span.plays.soft', {role: 'status'}, quiz.plays ? t('plays', {n: quiz.plays}) : ''),
      ),
      form,
      h('div.verdict', {role: 'status'}),
      h('div.reply'),
    );
    if (this.row) this.reveal();
  }

  /** Say who was right, on each option how probable it is to whom. */
  reveal() {
    const {row, result, quiz, place} = this,
      right = row.chosen === row.answer;
    [...place.querySelectorAll('label.option')].forEach((label, number) => {
      const input = label.querySelector('input');
      Object.assign(input, {disabled: true, checked: number === row.chosen});
      label.classList.toggle('right', number === row.answer);
      const marks = [
        number === row.answer && `✓ ${t('right answer')}`,
        number === row.chosen && t('you'),
      ].filter(Boolean);
      label.append(
        h('span.mark', {}, marks.join(' · ')),
        h(
          'span.bars',
          {},
          bar(t('student'), row.probabilities[number], 'student'),
          row.teacherShares ? bar(t('teacher'), row.teacherShares[number], 'teacher') : null,
        ),
      );
    });
    const of = (who) => t(row[who] === row.answer ? 'is right' : 'is wrong', {who: t(who)});
    const others = [of('student'), row.teacher === null ? null : of('teacher')].filter(Boolean);
    place
      .querySelector('.verdict')
      .replaceChildren(
        h(
          'p',
          {},
          h(right ? 'b.good' : 'b.bad', {}, t(right ? 'right' : 'wrong')),
          ' ',
          others.join(' '),
        ),
        tie(result.tied, row.options) ?? '',
        h(
          'p.soft',
          {},
          t('score', {
            you: quiz.right('chosen'),
            student: quiz.right('student'),
            all: quiz.rows.length,
          }),
        ),
      );
    place.querySelector('.check').hidden = true;
    place.querySelector('.next').hidden = false;
    const seconds = result.end - result.begin;
    place
      .querySelector('.reply')
      .replaceChildren(
        spectrogram(result.mel, seconds, result.begin),
        h(
          'p.soft',
          {},
          t('answered', {ms: result.milliseconds.toFixed(0), seconds: seconds.toFixed(1)}),
        ),
      );
  }

  /** Digits choose, arrows move the choice, space plays, enter goes on; within the panel alone. */
  key(event) {
    const {key, target} = event,
      radios = [...this.place.querySelectorAll('input[type=radio]')];
    const typed = target.matches('input:not([type=radio]), select, textarea'),
      isRadio = target.type === 'radio';
    if (!this.quiz || this.quiz.done || typed || event.ctrlKey || event.metaKey || event.altKey)
      return;
    const at = radios.findIndex((one) => one.checked),
      step = {ArrowDown: 1, ArrowUp: -1}[key] ?? 0;
    const wanted = /^[1-9]$/.test(key) ? +key - 1 : step && !isRadio ? Math.max(0, at + step) : -1;
    const free = target.matches('button, summary') || (isRadio && !target.checked);
    if (radios[wanted] && !this.row) {
      radios[wanted].checked = true;
      radios[wanted].focus();
    } else if (key === ' ' && !free) this.place.querySelector('.play').click();
    else if (key === 'Enter' && target.matches('h2')) {
      this.place.querySelector(this.row ? '.next' : '.check').click();
    } else return;
    event.preventDefault();
  }
}

function option(text, number) {
  const input = h('input', {type: 'radio', name: 'option', value: number, required: true});
  return h(
    'label.option',
    {},
    input,
    h('span.digit', {'aria-hidden': true}, number + 1),
    h('span', {}, text),
  );
}
