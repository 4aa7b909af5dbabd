// What the page says, in the language that was chosen.

import {$} from './dom.js';

const LANGUAGES = {en: 'en', zh: 'zh-CN'};
let texts = {},
  language = 'en';

/** A text by name, with its places filled in: {n} is `about.n`. */
export function t(key, about = {}) {
  const text = texts[key]?.[language] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => about[name] ?? place);
}

/** The language that the address, or else the browser, asks for. */
export function wanted() {
  const asked = new URLSearchParams(location.search).get('lang') ?? navigator.language;
  return asked.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

/** Say all of the page in a language; what is drawn by scripts is drawn again on `spoken`. */
export function speak(chosen, all = texts) {
  [texts, language] = [all, chosen];
  document.documentElement.lang = LANGUAGES[language];
  document.title = t('title');
  for (const one of document.querySelectorAll('[data-text]')) one.textContent = t(one.dataset.text);
  for (const one of document.querySelectorAll('[data-label]')) {
    one.setAttribute('aria-label', t(one.dataset.label));
  }
  $('language').value = language;
  document.dispatchEvent(new Event('spoken'));
}
