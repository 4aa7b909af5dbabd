// Where a sound comes from: the microphone, a file that is opened or dropped, a clip of the test set.

import {clock, h} from './dom.js';
import {decode, wav} from './files.js';
import {joined, level, microphone} from './microphone.js';
import {t} from './words.js';

const LONGEST = 600; // seconds of a recording
const QUIETEST = -60; // dB, the left end of the level

/** Show what went wrong in a panel, or that nothing did. */
export function fault(panel, error = null) {
  panel.querySelector('.fault').textContent = error
    ? t(error.key ?? 'failed', {
        reason: error.message,
        ...error.about,
      })
    : '';
  if (error && !error.key) console.error(error);
}

/** An action whose faults are shown in its panel. */
export const guarded =
  (panel, action) =>
  async (...given) => {
    given[0]?.preventDefault?.();
    fault(panel);
    try {
      return await action(...given);
    } catch (error) {
      fault(panel, error);
    }
  };

/** The part of a panel that brings sounds to `use`. */
export class Source {
  constructor(panel, use, {examples = [], live = true} = {}) {
    Object.assign(this, {panel, use, examples, recording: null});
    this.place = panel.querySelector('.source');
    this.live = live;
    this.draw();
    document.addEventListener('spoken', () => this.recording || this.draw());
    panel.addEventListener('dragover', (event) => event.preventDefault());
    panel.addEventListener(
      'drop',
      guarded(panel, (event) => {
        const [file] = event.dataTransfer.files;
        return file && this.open(file);
      }),
    );
  }

  draw() {
    const file = h('input', {type: 'file', accept: 'audio/*,.flac,.wav,.mp3,.ogg,.m4a'});
    file.onchange = guarded(this.panel, () => file.files[0] && this.open(file.files[0]));
    const choose = h('label.button', {}, t('open file'), file);
    const record = h('button.main', {type: 'button'}, t('record'));
    record.onclick = guarded(this.panel, () => this.toggle());
    const clip = h(
      'select',
      {'aria-label': t('example')},
      h('option', {value: ''}, t('example')),
      this.examples.map(({label}, place) => h('option', {value: place}, label)),
    );
    clip.onchange = guarded(this.panel, async () => {
      const chosen = this.examples[clip.value];
      if (chosen) await this.open(await chosen.file(), chosen);
    });
    this.button = record;
    this.level = h('meter.level', {min: QUIETEST, max: 0, low: -45, value: QUIETEST, hidden: true});
    this.level.setAttribute('aria-label', t('level'));
    this.heard = h('span.soft', {role: 'status'}, t('or drop'));
    this.player = h('audio', {controls: true, hidden: true});
    const row = [this.live ? record : null, choose, this.examples.length ? clip : null, this.heard];
    this.place.replaceChildren(h('div.row', {}, row), this.level, this.player);
  }

  /** Take a file: decode it, let it be heard, hand it on. */
  async open(file, example = null) {
    this.heard.textContent = t('decoding');
    try {
      const sound = await decode(file);
      URL.revokeObjectURL(this.player.src);
      Object.assign(this.player, {src: URL.createObjectURL(file), hidden: false});
      this.player.setAttribute('aria-label', file.name);
      const seconds = sound.samples.length / sound.rate;
      this.heard.textContent = t('sound of', {name: file.name, time: clock(seconds, 1)});
      await this.use({...sound, seconds, example});
    } catch (error) {
      if (this.player.hidden) this.heard.textContent = t('or drop');
      throw error;
    }
  }

  async toggle() {
    if (this.recording) return this.finish();
    const blocks = [];
    let length = 0;
    this.heard.textContent = t('allow');
    const device = await microphone((block, rate) => {
      blocks.push(block);
      this.level.value = level(block);
      const before = Math.floor(length / rate),
        after = Math.floor((length += block.length) / rate);
      if (after > before) this.heard.textContent = t('recording', {time: clock(after)});
      if (after >= LONGEST && this.recording) this.button.click();
    }).catch((error) => {
      this.heard.textContent = t('or drop');
      throw error;
    });
    this.recording = {device, blocks};
    this.heard.ariaLive = 'off'; // seconds are seen, not said
    this.level.hidden = false;
    this.button.textContent = t('stop');
  }

  async finish() {
    const {device, blocks} = this.recording;
    this.recording = null;
    await device.stop();
    this.heard.ariaLive = 'polite';
    this.level.hidden = true;
    this.button.textContent = t('record');
    const file = new File([wav(joined(blocks), device.rate)], 'recording.wav', {type: 'audio/wav'});
    await this.open(file);
  }
}

/** Which student of a task is asked: a choice where there are several, and what is known of it. */
export class Chosen {
  constructor(panel, models, task) {
    Object.assign(this, {panel, models, task, name: null});
    document.addEventListener('spoken', () => this.draw());
    document.addEventListener('loaded', () => this.draw());
  }

  get student() {
    const all = this.models.of(this.task);
    return all.find(({name}) => name === this.name) ?? all[0];
  }

  draw() {
    const all = this.models.of(this.task),
      place = this.panel.querySelector('.student');
    if (!all.length) return;
    const about = h(
      'span',
      {},
      all.length > 1 ? '' : `${this.student.name} · `,
      this.student.about?.() ?? '',
    );
    const select = h(
      'select',
      {'aria-label': t('student')},
      all.map(({name}) => h('option', {value: name}, name)),
    );
    select.value = this.student.name;
    select.onchange = () => {
      this.name = select.value;
      this.draw();
      this.panel.dispatchEvent(new Event('student'));
    };
    place.replaceChildren(all.length > 1 ? select : '', about);
  }
}
