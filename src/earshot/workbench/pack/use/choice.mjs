// node use.mjs clip.wav "What did Mary buy?" "a bike" "a lamp" "a coat"
// Needs onnxruntime-web, and a WAV file of 16 bits and one channel. student.mjs runs in browsers too.
import {readFile} from 'node:fs/promises';
import * as ort from 'onnxruntime-web';
import {load, resample} from './student.mjs';

const [clip, question, ...options] = process.argv.slice(2);
const student = await load(ort, await readFile(new URL('student.int8.onnx', import.meta.url)));
const {buffer} = Uint8Array.from(await readFile(clip)),
  rate = new DataView(buffer).getUint32(24, true);
const samples = Float32Array.from(new Int16Array(buffer, 44), (one) => one / 32768);
const answer = await student.answer(resample(samples, rate, student.rate), question, options);
options.forEach((option, place) => console.log(answer.probabilities[place].toFixed(6), option));
