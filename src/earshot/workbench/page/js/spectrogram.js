// What a student takes in: its log-mel frames as a picture, time across, low bands below.

import {h} from './dom.js';
import {t} from './words.js';

const WIDEST = 1200; // columns of a picture
let colours = [];

/** Take the colours from dark to light, as [red, green, blue] each. */
export function paint(table) {
  colours = table;
}

/** A figure of frames of `seconds`; `begin` is when they begin. */
export function spectrogram(mel, seconds, begin = 0) {
  const canvas = h('canvas', {
    role: 'img',
    'aria-label': t('spectrogram', {
      seconds: seconds.toFixed(1),
      bands: mel.bands,
    }),
  });
  draw(canvas, mel);
  const second = (one) => h('span', {}, `${one.toFixed(1)} s`);
  const scale = h('div.scale', {}, second(begin), second(begin + seconds));
  return h(
    'figure.heard',
    {},
    canvas,
    scale,
    h('figcaption', {}, t('spectrogram note', {bands: mel.bands})),
  );
}

/** Draw frames into a canvas, a column each, or the mean of some where there are too many. */
export function draw(canvas, {data, frames, bands}) {
  const width = Math.max(1, Math.min(WIDEST, frames)),
    columns = new Float32Array(width * bands);
  for (let column = 0; column < width; column++) {
    const first = Math.floor((column * frames) / width);
    const last = Math.max(first + 1, Math.floor(((column + 1) * frames) / width));
    for (let band = 0; band < bands; band++) {
      let sum = 0;
      for (let frame = first; frame < last; frame++) sum += data[frame * bands + band];
      columns[column * bands + band] = sum / (last - first);
    }
  }
  const sorted = Float32Array.from(columns).sort();
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  const low = at(0.05),
    high = Math.max(at(0.998), low + 1e-6);
  Object.assign(canvas, {width, height: bands});
  const context = canvas.getContext('2d'),
    image = context.createImageData(width, bands);
  columns.forEach((value, place) => {
    const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
    const row = bands - 1 - (place % bands),
      column = Math.floor(place / bands);
    image.data.set(
      [...colours[Math.round(share * (colours.length - 1))], 255],
      4 * (row * width + column),
    );
  });
  context.putImageData(image, 0, 0);
}
