// Students of the three tasks on ONNX Runtime Web: what earshot.predict does, with the same numbers.

import {encode, reading, words} from './text.js';
import {metadata, withOutput} from './onnx.js';
import {Refused} from './refused.js';
import {audible, check, quietest} from './sound.js';

const PIECE = 150; // seconds of a long recording that are answered about at once
const WINDOWS = 60; // windows of a long recording that are classified at once
const SPAN = 20,
  CONTEXT = 2; // seconds that are written down at once, and heard around them
const MEL = 'mel'; // the end of the front end inside every file: log-mel frames (T, 40)

/** A file of one task; `described` is what its metadata say. */
class Model {
  constructor(ort, session, described) {
    Object.assign(this, {ort, session, described});
    this.rate = +described.sample_rate;
    this.limits = JSON.parse(described.features);
    this.labels = JSON.parse(described.labels ?? '[]');
  }

  /** Outputs of the file for samples, by name. */
  async run(samples, inputs = {}) {
    const waveform = this.floats(samples);
    const outputs = await this.session.run({waveform, ...inputs});
    for (const {type, data} of Object.values(outputs)) {
      if (type === 'float32' && !data.every(Number.isFinite)) throw new Refused('damaged_model');
    }
    return outputs;
  }

  floats(values) {
    return new this.ort.Tensor('float32', Float32Array.from(values), [values.length]);
  }

  integers(values, shape) {
    return new this.ort.Tensor('int64', BigInt64Array.from(values, BigInt), shape);
  }

  /** Pieces of `size` samples, the last of up to twice as many; Refused where all are unusable. */
  *pieces(samples, size) {
    let audible = false;
    for (let start = 0, last = false; !last; start += size) {
      last = samples.length - start < 2 * size;
      const piece = samples.subarray(start, last ? samples.length : start + size);
      const reason = check(piece, this.rate, this.limits);
      if (reason && reason !== 'silent') throw new Refused(reason);
      audible ||= !reason;
      if (last && !audible) throw new Refused('silent');
      yield {piece, start, last, silent: reason === 'silent'};
    }
  }
}

/** A student for multiple choice. */
export class Student extends Model {
  /** Probabilities of options, means over pieces; what they heard; which are tied with the best. */
  async answer(samples, question, options) {
    const [texts, ids] = this.asked(question, options);
    const rows = [],
      mels = [],
      attention = [];
    let begin = null,
      end = 0,
      milliseconds = 0;
    for (const {piece, start, silent} of this.pieces(samples, PIECE * this.rate)) {
      if (silent) continue;
      const [first, last] = audible(piece, this.rate),
        begun = performance.now();
      const outputs = await this.run(piece.subarray(first, last), texts);
      milliseconds += performance.now() - begun;
      rows.push(softmax(outputs.logits.data));
      mels.push(melOf(outputs));
      if (outputs.attention) attention.push(outputs.attention.data);
      begin ??= (start + first) / this.rate;
      end = (start + last) / this.rate;
    }
    const probabilities = means(rows),
      best = argmax(probabilities);
    const alike = ids.map((row) => reading(row));
    const tied = probabilities.flatMap((one, place) =>
      one === probabilities[best] || alike[place] === alike[best] ? [place] : [],
    );
    const whole = {option: tied[0], tied: tied.length > 1 ? tied : [], probabilities};
    return {...whole, mel: joined(mels), attention: attention[0], begin, end, milliseconds};
  }

  /** The inputs of the file for a question and options, and the options' ids. */
  asked(question, options) {
    const version = +(this.described.text_version ?? 1),
      buckets = +this.described.buckets;
    const read = (text, space) => encode(text, buckets, space, version);
    if (options.length < 2) throw new Refused('few options');
    const asked = read(question, 'question'),
      rows = options.map((one) => read(one, 'option'));
    if (!asked.length) throw new Refused('wordless question');
    if (rows.some((row) => !row.length)) throw new Refused('wordless option');
    const spelled = options.map((one) => JSON.stringify(words(one)));
    if (new Set(spelled).size < options.length) throw new Refused('same options');
    const longest = Math.max(...rows.map((row) => row.length));
    const padded = rows.flatMap((row) => [...row, ...Array(longest - row.length).fill(0)]);
    const shape = [1, rows.length, longest];
    const inputs = {
      question: this.integers(asked, [1, asked.length]),
      options: this.integers(padded, shape),
    };
    return [inputs, rows];
  }
}

/** A student with fixed classes, a window at a time. */
export class Classifier extends Model {
  constructor(...whole) {
    super(...whole);
    const {0: fixed} = this.session.inputMetadata[0].shape;
    this.window = typeof fixed === 'number' ? fixed : this.rate;
  }

  /** Each window's probabilities with the second at which it begins, and their means. */
  async classify(samples, tell = () => {}) {
    const windows = [],
      starts = [],
      mels = [];
    let milliseconds = 0;
    for (const {piece, start, last} of this.pieces(samples, WINDOWS * this.window)) {
      const padded = repeated(piece, this.window);
      for (const first of this.starts(piece, last)) {
        const begun = performance.now();
        const outputs = await this.run(padded.subarray(first, first + this.window));
        milliseconds += performance.now() - begun;
        windows.push(softmax(outputs.logits.data));
        mels.push(melOf(outputs));
        starts.push((start + first) / this.rate);
      }
      tell({done: starts.at(-1)});
    }
    const whole = {labels: this.labels, windows, starts, pooled: means(windows)};
    return {...whole, mel: joined(mels), milliseconds, seconds: samples.length / this.rate};
  }

  /** Where the windows of a piece begin: the last is moved back to end with the audio. */
  starts(piece, last) {
    const judged = piece.length - (last ? this.limits.min_seconds * this.rate : 0);
    const count = Math.max(1, Math.ceil(judged / this.window));
    const latest = Math.max(piece.length - this.window, 0);
    return Array.from({length: count}, (_, n) => Math.min(n * this.window, latest));
  }
}

/** A student that writes what is said. */
export class Transcriber extends Model {
  constructor(...whole) {
    super(...whole);
    this.frame = +this.described.frame_seconds;
    this.languages = JSON.parse(this.described.languages ?? '[]');
    this.takesLanguage = this.session.inputNames.includes('language');
  }

  /** Words with times; `tell` gets those written so far after each window. */
  async transcribe(samples, language = null, tell = () => {}) {
    const frames = [],
      shares = [],
      mels = [];
    let milliseconds = 0;
    for (const window of this.windows(samples)) {
      const begun = performance.now(),
        part = await this.part(window, language);
      milliseconds += performance.now() - begun;
      if (part) {
        frames.push(...part.frames);
        mels.push(part.mel);
        shares.push(...part.frames.map(() => part.languages));
      }
      tell({done: window.last / this.rate, words: this.words(frames)});
    }
    if (!mels.length) throw new Refused('silent');
    const spoken = means(shares).map(Math.exp);
    const languages = Object.fromEntries(this.languages.map((one, place) => [one, spoken[place]]));
    const whole = {words: this.words(frames), languages, mel: joined(mels)};
    return {...whole, milliseconds, seconds: samples.length / this.rate};
  }

  /** The frames between the ends of a window, {symbol, log, second} each; null of silence. */
  async part({start, first, last, end}, language) {
    const samples = this.samples.subarray(start, end);
    const reason = check(samples, this.rate, this.limits);
    if (reason === 'silent') return null;
    if (reason) throw new Refused(reason);
    const given = this.languages.map((one) => +(one === language));
    const outputs = await this.run(samples, this.takesLanguage ? {language: this.floats(given)} : {});
    const {
        data,
        dims: [count, width],
      } = outputs.log_posteriors,
      frames = [];
    const begin = start / this.rate,
      from = first / this.rate,
      to = last / this.rate;
    for (let frame = 0; frame < count; frame++) {
      const second = begin + this.frame * frame;
      if (second < from || second >= to) continue;
      const row = data.subarray(frame * width, (frame + 1) * width),
        symbol = argmax(row);
      frames.push({symbol, log: row[symbol], second});
    }
    const languages = Array.from(outputs.language_log_probabilities?.data ?? []);
    const mel = melOf(outputs);
    const place = (sample) => Math.round(((sample - start) / samples.length) * mel.frames);
    return {frames, languages, mel: cut(mel, place(first), place(last))};
  }

  /** Words of frames: repeats merged, blanks dropped; their times and mean probabilities. */
  words(frames) {
    const found = [];
    let open = false;
    for (let begin = 0, end = 0; begin < frames.length; begin = end) {
      const {symbol} = frames[begin];
      while (end < frames.length && frames[end].symbol === symbol) end++;
      if (symbol === 0) continue;
      if (symbol === 1) open = false;
      else if (open) {
        found.at(-1).text += this.labels[symbol];
        found.at(-1).last = end;
      } else {
        found.push({text: this.labels[symbol], first: begin, last: end});
        open = true;
      }
    }
    return found.map(({text, first, last}) => {
      const written = frames.slice(first, last).filter(({symbol}) => symbol !== 0);
      const log = written.reduce((sum, one) => sum + one.log, 0) / written.length;
      const end = frames[last - 1].second + this.frame;
      return {text, begin: frames[first].second, end, probability: Math.exp(log)};
    });
  }

  /** Windows that end where it is quiet, with the sound before and behind them. */
  *windows(samples) {
    const span = SPAN * this.rate,
      context = CONTEXT * this.rate;
    this.samples = samples;
    let start = 0,
      first = 0;
    while (samples.length > first + span + context) {
      const low = first + Math.floor(span / 2);
      const last = low + quietest(samples.subarray(low, first + span), this.rate);
      yield {start, first, last, end: last + context};
      start = Math.max(last - context, start);
      first = last;
    }
    yield {start, first, last: samples.length, end: samples.length};
  }
}

export const TASKS = {choice: Student, classes: Classifier, transcript: Transcriber};

/** The student that a file holds; Refused where it is none of ours. */
export async function load(ort, bytes) {
  const described = metadata(bytes),
    kind = Object.hasOwn(TASKS, described.task ?? '');
  if (!kind) throw new Refused('not a student');
  const options = {executionProviders: ['wasm'], intraOpNumThreads: 1, logSeverityLevel: 3};
  const session = await ort.InferenceSession.create(withOutput(bytes, MEL), options);
  return new TASKS[described.task](ort, session, described);
}

export function softmax(logits) {
  const top = Math.max(...logits),
    powers = Array.from(logits, (one) => Math.exp(one - top));
  const sum = powers.reduce((all, one) => all + one);
  return powers.map((one) => one / sum);
}

function argmax(values) {
  return values.reduce((best, one, place) => (one > values[best] ? place : best), 0);
}

/** The mean of rows, column by column. */
function means(rows) {
  return Array.from(
    rows[0] ?? [],
    (_, column) => rows.reduce((sum, row) => sum + row[column], 0) / rows.length,
  );
}

/** Samples over and over until they fill `size`. */
function repeated(samples, size) {
  if (samples.length >= size) return samples;
  return Float32Array.from({length: size}, (_, place) => samples[place % samples.length]);
}

function melOf({
  [MEL]: {
    data,
    dims: [frames, bands],
  },
}) {
  return {data: data.slice(), frames, bands};
}

function cut({data, bands}, first, last) {
  return {data: data.slice(first * bands, last * bands), frames: last - first, bands};
}

function joined(mels) {
  const frames = mels.reduce((sum, mel) => sum + mel.frames, 0),
    {bands} = mels[0];
  const data = new Float32Array(frames * bands);
  let at = 0;
  for (const mel of mels) {
    data.set(mel.data, at);
    at += mel.data.length;
  }
  return {data, frames, bands};
}
