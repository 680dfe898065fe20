'use strict';

// Bugs to switch on, to see what facade, guard and breaker do about them:
//   curl -X PUT localhost:3000/__bugs -d '{"errors": 0.5, "slow": 800, "wrong": 1, "crash": false}'
const { setTimeout: sleep } = require('node:timers/promises');
const { Refusal } = require('./errors');

const NONE = { errors: 0, slow: 0, wrong: 0, crash: false };

class Bugs {
  constructor(log = console) {
    this.on = { ...NONE };
    this.log = log;
  }

  set(given) {
    const known = Object.entries(given ?? {}).filter(([name]) => Object.hasOwn(NONE, name));
    this.on = { ...NONE, ...Object.fromEntries(known) };
    return this.on;
  }

  /** Before the work: an error, slowness, or the end of the process. */
  async before() {
    if (this.on.slow) await sleep(this.on.slow);
    if (this.on.crash) {
      this.log.error('A bug: the process crashes.');
      process.exit(70);
    }
    if (Math.random() < this.on.errors) {
      throw new Refusal(500, { errors: { __all__: ['A bug.'] } });
    }
  }

  /** After it: an answer that is wrong by a cent, and by a field. */
  after(answer) {
    if (!answer.body || Math.random() >= this.on.wrong) return answer;
    const body = structuredClone(answer.body);
    for (const payment of body.payments ?? [body]) {
      if (payment.amount) payment.amount = payment.amount.replace(/\d$/, (d) => (Number(d) + 1) % 10);
      delete payment.completed_at;
    }
    return { ...answer, body };
  }
}

module.exports = { Bugs };
