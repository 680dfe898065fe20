'use strict';

// Where the payments' tables live: with the monolith, or where they are on their way to.
// Of the two databases one lets writers in, and each says of itself whether it is that:
// docs/reference/moves.md of django-strangler, "Writing from another language".
const { crc32 } = require('node:zlib');
const { setTimeout: sleep } = require('node:timers/promises');
const { Outage } = require('./errors');
const { inTransaction } = require('./store');

const CLASS = 1398035027; // Of the locks that writers share.
const CLOSED = 'MV001'; // The code of the fence's error.
const WAIT = 5_000; // Milliseconds for which a switch is waited through.
const RETRY = 10;

class Closed extends Error {
  code = CLOSED;
}

const outage = (error) => {
  throw new Outage(error);
};

class Homes {
  /** `pools`: the monolith's database first; the other one if there is a move. */
  constructor(pools, { move = 'payments', users = undefined, wait = WAIT } = {}) {
    Object.assign(this, { pools, move, pool: users, wait, at: 0 });
    this.users = users && { query: (...asked) => users.query(...asked).catch(outage) };
    this.lock = `${CLASS}, ${crc32(move) - 2 ** 31}`;
    this.gate = `SELECT closed FROM strangler_moves_gate WHERE move = '${move}'`;
  }

  /** A transaction where the tables live now; waits through a switch. */
  async write(work) {
    if (this.pools.length === 1) return inTransaction(this.pools[0], work);
    // The lock first: the gate is asked by a statement that sees what it waited for.
    const begin = `BEGIN; SELECT pg_advisory_xact_lock_shared(${this.lock}); ${this.gate}`;
    const until = Date.now() + this.wait;
    for (;;) {
      const at = this.at;
      try {
        return await this.on(at, begin, work);
      } catch (error) {
        const isAway = error instanceof Outage;
        if (error.code !== CLOSED && !(isAway && (await this.isOpen(1 - at)))) throw error;
        if (Date.now() > until) throw error;
      }
      if (this.at === at) this.at = 1 - at;
      await sleep(RETRY);
    }
  }

  /** A transaction that only reads, where the truth is. */
  async read(work) {
    if (this.pools.length === 1) return inTransaction(this.pools[0], work);
    const at = this.at;
    try {
      return await this.on(at, `BEGIN; ${this.gate}`, work);
    } catch (error) {
      const isAway = error instanceof Outage;
      if (error.code !== CLOSED && !isAway) throw error;
      if (await this.isOpen(1 - at)) this.at = 1 - at;
      // In the midst of a switch both are closed, and the truth is where it was.
      else if (isAway) throw error;
    }
    return inTransaction(this.pools[this.at], work);
  }

  on(at, begin, work) {
    const checked = async (client, [, ...results]) => {
      const [row] = results.at(-1).rows;
      // Before the first move nothing is written down, and the monolith has the tables.
      if (row ? row.closed : at !== 0) throw new Closed(`${this.move}: closed here`);
      return work(client);
    };
    return inTransaction(this.pools[at], checked, begin);
  }

  async isOpen(at) {
    try {
      const { rows } = await this.pools[at].query(this.gate);
      return rows.length > 0 && !rows[0].closed;
    } catch {
      return false; // It is away.
    }
  }

  async end() {
    await Promise.all([...this.pools, this.pool].map((pool) => pool?.end()));
  }
}

module.exports = { Homes };
