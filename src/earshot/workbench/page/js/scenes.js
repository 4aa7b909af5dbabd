// What kind of place it is: from the microphone, second by second, or a file as a line of time.

import {bar, ranking} from './answers.js';
import {$, clock, h} from './dom.js';
import {joined, level, microphone} from './microphone.js';
import {resample} from './sound.js';
import {Chosen, Source, guarded} from './source.js';
import {draw as paint, spectrogram} from './spectrogram.js';
import {t} from './words.js';

const SHOWN = 30; // seconds of the microphone that are seen
const BEST = 3; // classes with a bar
const COLOURS = 6; // of the line of time; the last is that of all others

export const named = (label) => label.replaceAll('_', ' ');

export function scenes(models, examples) {
  const panel = $('scenes'),
    chosen = new Chosen(panel, models, 'classes');
  const reply = panel.querySelector('.reply');
  let result = null;
  const draw = () => result && reply.replaceChildren(...whole(result));
  new Source(
    panel,
    async ({samples, rate, seconds}) => {
      const tell = ({done}) =>
        reply.replaceChildren(
          h('progress', {max: seconds, value: done, 'aria-label': t('working')}),
        );
      result = await models.call('classify', {name: chosen.student.name, samples, rate}, tell);
      draw();
    },
    {examples, live: false},
  );
  live(panel, models, chosen);
  document.addEventListener('spoken', draw);
}

/** All in all, the line of time, and the same as a table. */
function whole({labels, pooled, windows, starts, mel, seconds, milliseconds}) {
  const spans = merged(labels, windows, starts, seconds),
    colours = coloured(spans);
  const strip = h(
    'div.strip',
    {'aria-hidden': true},
    spans.map(({label, begin, end}) => {
      const part = h(`span.${colours.get(label)}`, {title: named(label)});
      part.style.flexGrow = end - begin;
      return part;
    }),
  );
  const rows = spans.map(({label, begin, end, share}) =>
    h(
      'tr',
      {},
      h('td', {}, `${clock(begin)}–${clock(end)}`),
      h('td', {}, h(`span.dot.${colours.get(label)}`), named(label)),
      h('td', {}, bar('', share, 'student')),
    ),
  );
  const heads = ['time', 'place', 'probability'].map((key) => h('th', {scope: 'col'}, t(key)));
  const table = h('table', {}, h('thead', {}, h('tr', {}, heads)), h('tbody', {}, rows));
  return [
    h('h2', {}, t('all in all')),
    ranking(shares(labels, pooled), BEST),
    spectrogram(mel, seconds),
    strip,
    h('div.scroll', {tabIndex: 0, role: 'region', 'aria-label': t('line of time')}, table),
    h(
      'p.soft',
      {},
      t('classified', {count: windows.length, ms: (milliseconds / windows.length).toFixed(1)}),
    ),
  ];
}

const shares = (labels, row) =>
  labels.map((label, place) => ({text: named(label), share: row[place]}));

/** Windows of one class that follow each other, as spans. */
function merged(labels, windows, starts, seconds) {
  const spans = [];
  windows.forEach((row, place) => {
    const best = row.indexOf(Math.max(...row)),
      label = labels[best];
    const begin = spans.at(-1)?.end ?? 0,
      end = starts[place + 1] ?? seconds;
    if (spans.at(-1)?.label === label) {
      const span = spans.at(-1);
      span.share = (span.share * span.count + row[best]) / (span.count + 1);
      Object.assign(span, {end, count: span.count + 1});
    } else spans.push({label, begin, end, share: row[best], count: 1});
  });
  return spans;
}

/** The colours of classes, by how long they last. */
function coloured(spans) {
  const lasting = new Map();
  for (const {label, begin, end} of spans)
    lasting.set(label, (lasting.get(label) ?? 0) + end - begin);
  const order = [...lasting].sort(([, a], [, b]) => b - a).map(([label]) => label);
  return new Map(order.map((label, place) => [label, `k${Math.min(place, COLOURS - 1)}`]));
}

/** The microphone: a class a second, and what was heard in the last half minute. */
function live(panel, models, chosen) {
  const button = panel.querySelector('.live button'),
    meter = panel.querySelector('.live .level');
  const now = panel.querySelector('.now'),
    canvas = panel.querySelector('.live canvas');
  let device = null,
    frames = [];
  const label = () => {
    button.textContent = t(device ? 'stop' : 'listen');
  };
  const show = ({labels, pooled, mel}) => {
    frames = [...frames, mel].slice(-SHOWN);
    const data = joined(frames.map((one) => one.data));
    paint(canvas, {data, frames: data.length / mel.bands, bands: mel.bands});
    canvas.hidden = false;
    const best = named(labels[pooled.indexOf(Math.max(...pooled))]);
    if (now.textContent !== best) now.textContent = best; // said to listeners when it changes
    panel.querySelector('.live .bars').replaceChildren(ranking(shares(labels, pooled), BEST));
  };
  button.onclick = guarded(panel, async () => {
    if (device) {
      const {stop} = device;
      device = null;
      meter.hidden = true;
      label();
      return stop();
    }
    let blocks = [],
      length = 0;
    frames = [];
    device = await microphone(async (block, rate) => {
      blocks.push(block);
      length += block.length;
      meter.value = level(block);
      const {name, rate: own, window} = chosen.student,
        needed = (rate * (window ?? own)) / own;
      if (length < needed) return;
      const samples = joined(blocks).subarray(0, Math.ceil(needed));
      [blocks, length] = [[], 0];
      await guarded(panel, async () =>
        show(await models.call('classify', {name, samples, rate})),
      )();
    });
    meter.hidden = false;
    label();
  });
  document.addEventListener('spoken', label);
}
