'use strict';

/** An answer that is no success: a status, and what the body says. */
class Refusal extends Error {
  constructor(status, body, headers = {}) {
    super(`status ${status}`);
    Object.assign(this, { status, body, headers });
  }
}

/** The database is to blame, and not what it was asked; `atWork`: it went in the middle. */
class Outage extends Error {
  constructor(cause, { atWork = false } = {}) {
    super(cause.message, { cause });
    this.atWork = atWork;
  }
}

const conflict = (message) => new Refusal(409, { errors: { __all__: [message] } });
const notFound = () => new Refusal(404, { errors: { __all__: ['Not found.'] } });

module.exports = { Outage, Refusal, conflict, notFound };
