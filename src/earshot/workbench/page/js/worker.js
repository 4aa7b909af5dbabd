// The thread that computes: it holds the runtime and the students, and answers one call at a time.

import {unpack} from './assets.js';
import {Refused} from './refused.js';
import {resample} from './sound.js';
import {load} from './student.js';

let ort = null;
const students = new Map();

const CALLS = {
  async start({code, wasm}, tell) {
    if (!hasSimd()) throw new Refused('no SIMD');
    const url = URL.createObjectURL(new Blob([await unpack(code)], {type: 'text/javascript'}));
    ort = await import(url);
    ort.env.logLevel = 'error';
    const wasmBinary = (await unpack(wasm, tell)).buffer;
    Object.assign(ort.env.wasm, {numThreads: 1, proxy: false, wasmBinary});
  },
  /** Load a student under a name; return what the page must know of it. */
  async load({name, packed, bytes}) {
    const student = await load(ort, bytes ?? (await unpack(packed)));
    await students.get(name)?.session.release();
    students.set(name, student);
    const {described, rate, labels, languages = [], takesLanguage = false, window = null} = student;
    return {task: described.task, rate, labels, languages, takesLanguage, window, described};
  },
  answer: ({name, samples, rate, question, options}) =>
    students.get(name).answer(at(name, samples, rate), question, options),
  classify: ({name, samples, rate}, tell) =>
    students.get(name).classify(at(name, samples, rate), tell),
  transcribe: ({name, samples, rate, language}, tell) =>
    students.get(name).transcribe(at(name, samples, rate), language, tell),
};

/** Samples at the rate of a student. */
const at = (name, samples, rate) => resample(samples, rate, students.get(name).rate);

/** Whether WebAssembly has SIMD: a function of one such instruction is valid. */
function hasSimd() {
  const head = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0];
  const body = [10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  return (
    typeof WebAssembly === 'object' && WebAssembly.validate(Uint8Array.from([...head, ...body]))
  );
}

let queue = Promise.resolve();
self.onmessage = ({data: {id, call, content}}) => {
  const tell = (progress) => self.postMessage({id, progress});
  queue = queue.then(async () => {
    try {
      self.postMessage({id, result: await CALLS[call](content, tell)});
    } catch (error) {
      const {key = 'failed', about = {reason: String(error?.message ?? error)}} = error ?? {};
      self.postMessage({id, refused: {key, about}});
    }
  });
};
