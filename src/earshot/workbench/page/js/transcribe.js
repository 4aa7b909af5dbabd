// What is said, word by word.

import {$, clock, h, percent, save} from './dom.js';
import {Chosen, Source, guarded} from './source.js';
import {spectrogram} from './spectrogram.js';
import {srt, text} from './subtitles.js';
import {t} from './words.js';

const UNSURE = 0.5; // a word of less is marked

export function transcribe(models, examples) {
  const panel = $('transcribe'),
    written = panel.querySelector('.written');
  const reply = panel.querySelector('.reply'),
    chosen = new Chosen(panel, models, 'transcript');
  const language = panel.querySelector('.language'),
    progress = panel.querySelector('.doing');
  let result = null,
    sound = null;

  const tongues = () => {
    const {languages = [], takesLanguage = false} = chosen.student ?? {},
      kept = language.value;
    const names = new Intl.DisplayNames([document.documentElement.lang], {type: 'language'});
    const all = [['', t('find out')], ...languages.map((one) => [one, names.of(one)])];
    language.replaceChildren(...all.map(([value, name]) => h('option', {value}, name)));
    language.value = languages.includes(kept) ? kept : '';
    language.parentElement.hidden = !takesLanguage;
  };
  const put = (words) => {
    const more = words.slice(Math.max(0, written.children.length - 1)); // the last may have grown
    if (written.lastChild && words.length) written.lastChild.remove();
    written.append(
      ...more.map(({text: word, begin, probability}) =>
        h(
          probability < UNSURE ? 'span.word.unsure' : 'span.word',
          {title: `${clock(begin, 1)} · ${percent(probability)}`},
          h('small', {'aria-hidden': true}, clock(begin, 1)),
          `${word} `,
        ),
      ),
    );
  };
  const draw = () => {
    if (!result) return;
    const {words, languages, mel, seconds, milliseconds} = result;
    written.replaceChildren();
    put(words);
    const name = sound.name.replace(/\.[^.]*$/, '');
    const copy = h('button', {type: 'button'}, t('copy')),
      file = h('button', {type: 'button'}, t('save srt'));
    copy.onclick = guarded(panel, async () => {
      await navigator.clipboard.writeText(text(words));
      copy.textContent = t('copied');
    });
    file.onclick = () => save(`${name}.srt`, srt(words), 'application/x-subrip');
    const said = Object.entries(languages)
      .map(([one, share]) => `${one} ${percent(share)}`)
      .join(', ');
    const {transcript, teacher} = sound.example ?? {};
    reply.replaceChildren(
      words.length ? '' : h('p', {}, t('no words')),
      h('div.row', {}, copy, file),
      transcript ? h('p', {}, h('b', {}, t('said')), ' ', transcript) : '',
      teacher ? h('p', {}, h('b', {}, t('teacher')), ' ', teacher) : '',
      spectrogram(mel, seconds),
      h(
        'p.soft',
        {},
        t('written', {ms: milliseconds.toFixed(0), seconds: seconds.toFixed(1)}),
        ' ',
        said ? t('languages', {languages: said}) : '',
      ),
    );
  };
  new Source(
    panel,
    async (found) => {
      sound = found;
      [result, reply.textContent, written.textContent] = [null, '', ''];
      Object.assign(progress, {hidden: false, max: found.seconds, value: 0});
      const tell = ({done, words}) => {
        progress.value = done;
        put(words);
      };
      const asked = {name: chosen.student.name, samples: found.samples, rate: found.rate};
      try {
        result = await models.call(
          'transcribe',
          {...asked, language: language.value || null},
          tell,
        );
        draw();
      } finally {
        progress.hidden = true;
      }
    },
    {examples},
  );
  for (const event of ['spoken', 'loaded']) document.addEventListener(event, tongues);
  panel.addEventListener('student', tongues);
  document.addEventListener('spoken', draw);
}
