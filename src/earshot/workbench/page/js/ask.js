// One's own sound and one's own question.

import {ranking, tie} from './answers.js';
import {$, h} from './dom.js';
import {Chosen, Source, guarded} from './source.js';
import {spectrogram} from './spectrogram.js';
import {t} from './words.js';

export function ask(models, examples) {
  const panel = $('ask'),
    form = panel.querySelector('form'),
    reply = panel.querySelector('.reply');
  const chosen = new Chosen(panel, models, 'choice');
  let sound = null,
    result = null,
    options = [];
  const draw = () => {
    if (!result) return;
    const rows = options.map((text, place) => ({text, share: result.probabilities[place]}));
    const seconds = result.end - result.begin,
      cut = sound.seconds - seconds;
    reply.replaceChildren(
      h('h2', {}, t('heard answer', {option: options[result.option]})),
      ranking(rows),
      tie(result.tied, options) ?? '',
      spectrogram(result.mel, seconds, result.begin),
      h(
        'p.soft',
        {},
        t('answered', {ms: result.milliseconds.toFixed(0), seconds: seconds.toFixed(1)}),
        ' ',
        cut > 0.1 ? t('trimmed', {seconds: cut.toFixed(1)}) : '',
      ),
    );
  };
  new Source(
    panel,
    (found) => {
      sound = found;
      [result, reply.textContent] = [null, ''];
      if (found.example) {
        form.question.value = found.example.question;
        form.options.value = found.example.options.join('\n');
      }
      form.send.disabled = false;
    },
    {examples},
  );
  form.onsubmit = guarded(panel, async () => {
    options = form.options.value
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);
    const {samples, rate} = sound,
      question = form.question.value;
    result = await models.call('answer', {
      name: chosen.student.name,
      samples,
      rate,
      question,
      options,
    });
    draw();
  });
  document.addEventListener('spoken', draw);
}
