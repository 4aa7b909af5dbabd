// Sound files in, mono samples out: the browser decodes them, at their own rate where that is known.

import {joined} from './microphone.js';
import {resample} from './sound.js';
import {Refused} from './refused.js';

const USUAL = 48_000; // Hz, of what has no rate that is easily read
const RATES = [8_000, 96_000]; // Hz that every browser decodes to
const LOUDEST = 2; // of float samples: mixing goes beyond 1, other scales far beyond
const LONGEST = 3_600; // seconds: all of a file is in memory at once
const MPEG_RATES = {
  3: [44_100, 48_000, 32_000],
  2: [22_050, 24_000, 16_000],
  0: [11_025, 12_000, 8_000],
};

/** {samples, rate, blob, name} of a file; Refused where it is no sound. */
export async function decode(blob, name = blob.name) {
  if (!blob.size) throw new Refused('empty file', {name});
  const seconds = await length(blob);
  if (seconds > LONGEST) throw new Refused('too long', {name});
  const bytes = await blob.arrayBuffer(),
    head = new DataView(bytes, 0, Math.min(bytes.byteLength, 1 << 16));
  const rate = Math.min(RATES[1], Math.max(RATES[0], rateOf(head) ?? USUAL));
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch {
    throw new Refused('no sound file', {name});
  }
  return {samples: scaled(mono(decoded), name), rate, blob, name};
}

/** Files end to end as one sound. */
export async function together([first, ...rest]) {
  const {samples, rate} = await decode(first);
  if (!rest.length) return {samples, rate, blob: first};
  const more = await Promise.all(rest.map((file) => decode(file)));
  const all = joined([samples, ...more.map((one) => resample(one.samples, one.rate, rate))]);
  return {samples: all, rate, blob: wav(all, rate)};
}

/** How many seconds a file says it lasts; 0 where it does not say. */
function length(blob) {
  const audio = new Audio(),
    url = URL.createObjectURL(blob);
  return new Promise((resolve) => {
    audio.onloadedmetadata = () => resolve(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => resolve(0);
    audio.preload = 'metadata';
    audio.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}

/** The rate in the header of a WAV, FLAC or MPEG file, in Hz; null of others. */
function rateOf(head) {
  const letters = (at, text) =>
    head.byteLength >= at + text.length &&
    Array.from(text).every((one, place) => head.getUint8(at + place) === one.charCodeAt(0));
  if (letters(0, 'RIFF') && letters(8, 'WAVE')) {
    for (let at = 12; at + 16 <= head.byteLength; at += 8 + head.getUint32(at + 4, true)) {
      if (letters(at, 'fmt ')) return head.getUint32(at + 12, true);
    }
  }
  if (letters(0, 'fLaC')) return head.getUint32(18) >>> 12;
  const start = letters(0, 'ID3') ? 10 + synchsafe(head.getUint32(6)) : 0;
  for (let at = start; at + 4 <= head.byteLength; at++) {
    if (head.getUint8(at) !== 255 || (head.getUint8(at + 1) & 0xe0) !== 0xe0) continue;
    const rate = MPEG_RATES[(head.getUint8(at + 1) >> 3) & 3]?.[(head.getUint8(at + 2) >> 2) & 3];
    return at === start ? (rate ?? null) : null;
  }
  return null;
}

const synchsafe = (word) =>
  [24, 16, 8, 0].reduce((sum, bits) => sum * 128 + ((word >>> bits) & 127), 0);

function mono(decoded) {
  const samples = decoded.getChannelData(0).slice(),
    count = decoded.numberOfChannels;
  for (let channel = 1; channel < count; channel++) {
    decoded.getChannelData(channel).forEach((one, place) => {
      samples[place] += one;
    });
  }
  return count > 1 ? samples.map((one) => one / count) : samples;
}

function scaled(samples, name) {
  const peak = samples.reduce((top, one) => Math.max(top, Math.abs(one)), 0);
  if (peak > LOUDEST) throw new Refused('beyond full scale', {name});
  return peak > 1 ? samples.map((one) => one / peak) : samples;
}

/** Mono samples as a WAV file of 16 bits. */
export function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (at, text) =>
    Array.from(text).forEach((one, place) => view.setUint8(at + place, one.charCodeAt(0)));
  const words = {
    4: 36 + 2 * samples.length,
    16: 16,
    24: rate,
    28: 2 * rate,
    40: 2 * samples.length,
  };
  const halves = {20: 1, 22: 1, 32: 2, 34: 16}; // PCM, one channel, bytes a frame, bits
  for (const [at, text] of [
    [0, 'RIFF'],
    [8, 'WAVEfmt '],
    [36, 'data'],
  ])
    write(at, text);
  for (const [at, word] of Object.entries(words)) view.setUint32(+at, word, true);
  for (const [at, half] of Object.entries(halves)) view.setUint16(+at, half, true);
  samples.forEach((one, place) => {
    const level = Math.max(-32_768, Math.min(32_767, Math.round(one * 32_768)));
    view.setInt16(44 + 2 * place, level, true);
  });
  return new Blob([view], {type: 'audio/wav'});
}
