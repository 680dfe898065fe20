'use strict';

/** An answer that is no success: a status, and what the body says. */
class Refusal extends Error {
  constructor(status, body, headers = {}) {
    super(`status ${status}`);
    Object.assign(this, { status, body, headers });
  }
}

const conflict = (message) => new Refusal(409, { errors: { __all__: [message] } });
const notFound = () => new Refusal(404, { errors: { __all__: ['Not found.'] } });

module.exports = { Refusal, conflict, notFound };
