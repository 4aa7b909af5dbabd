// The students, in a thread of their own, and which of them a task uses.

import {packed} from './assets.js';
import {Refused} from './refused.js';

export class Models {
  constructor(code) {
    const url = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
    this.worker = new Worker(url); // a classic one: from file:// browsers load no other from a blob
    this.calls = new Map();
    this.all = [];
    this.worker.onmessage = ({data}) => this.hear(data);
    this.worker.onerror = ({message}) => this.fail(message ?? 'worker');
  }

  /** Start the runtime; `tell` gets {share} as it unpacks. */
  async start(files, tell) {
    const [code, wasm] = await Promise.all([packed('ort.mjs', files), packed('ort.wasm', files)]);
    await this.call('start', {code, wasm}, tell);
  }

  /** Add a student: `about` is {name, …} as the page shows it, `content` has its bytes. */
  async add(about, content) {
    const found = await this.call('load', {name: about.name, ...content});
    const student = {...about, ...found};
    this.all = [...this.all.filter(({name}) => name !== about.name), student];
    return student;
  }

  of(task) {
    return this.all.filter((one) => one.task === task);
  }

  /** What the thread answers; Refused where it cannot. Samples stay with the page. */
  call(call, content, tell = () => {}) {
    const id = crypto.randomUUID?.() ?? String(Math.random());
    this.worker.postMessage({id, call, content});
    return new Promise((resolve, reject) => this.calls.set(id, {resolve, reject, tell}));
  }

  hear({id, result, progress, refused}) {
    const {resolve, reject, tell} = this.calls.get(id);
    if (progress) return tell(progress);
    this.calls.delete(id);
    if (refused) reject(new Refused(refused.key, refused.about));
    else resolve(result);
  }

  fail(reason) {
    for (const {reject} of this.calls.values()) reject(new Refused('failed', {reason}));
    this.calls.clear();
  }
}
