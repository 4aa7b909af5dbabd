// What cannot be answered, for a reason that can be told.

/** A fault; `key` names it in texts.yaml, `about` fills in its words. */
export class Refused extends Error {
  constructor(key, about = {}) {
    super(key);
    Object.assign(this, {key, about});
  }
}
