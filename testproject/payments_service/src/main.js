'use strict';

const { setTimeout: sleep } = require('node:timers/promises');
const { Bugs } = require('./bugs');
const { commands } = require('./commands');
const copies = require('./copies');
const { Homes } = require('./homes');
const { Verifier } = require('./identity');
const { migrate } = require('./sagas');
const { createServer } = require('./server');
const { openPool } = require('./store');

const PAUSE = 1000; // Milliseconds between two tries to make tables.

/** Make the tables, however long the database is away: what needs none goes on meanwhile. */
async function make(migrate, pool, signal) {
  while (!signal.aborted) {
    try {
      await migrate(pool);
      return;
    } catch (error) {
      console.error(`PostgreSQL: ${error.message}; trying again`);
    }
    await sleep(PAUSE, null, { signal }).catch(() => {});
  }
}

async function main(env) {
  const urls = [env.DATABASE_URL, env.MOVED_TO_URL].filter((url, n) => n === 0 || url);
  // Users stay. Asked for on connections of their own: whoever holds one to write with
  // must not wait for a second one of the same.
  const users = urls.length > 1 ? openPool(env.DATABASE_URL) : undefined;
  const homes = new Homes(urls.map((url) => openPool(url)), { users });
  const bugs = new Bugs();
  bugs.isOpen = env.BUGS === '1';
  const verifier = env.KEYS_URL
    ? new Verifier({ url: env.KEYS_URL, audience: env.AUDIENCE ?? 'payments' })
    : undefined;
  const server = createServer({ homes, bugs, verifier });
  server.listen(Number(env.PORT ?? 3000), env.HOST ?? '127.0.0.1', () => {
    console.info(`payments: http://127.0.0.1:${server.address().port}/payments/`);
  });
  const [pool] = homes.pools; // Copies of users are where users are asked for.
  const about = { url: env.BROKER_URL, pool, homes };
  const ofSagas = env.BROKER_URL ? [commands(about)] : [];
  const ofCopies = env.BROKER_URL && env.COPIES === '1' ? [copies.copies(about)] : [];
  const consumers = [...ofSagas, ...ofCopies];
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      stopping.abort();
      // What is in hand is finished; idle connections are closed.
      server.close(async () => {
        await Promise.all(consumers.map((consumer) => consumer.stop()));
        await homes.end();
      });
      server.closeIdleConnections();
    });
  }
  const run = (some) => Promise.all(some.map((consumer) => consumer.run()));
  const copying = async () => {
    if (env.COPIES === '1') await make(copies.migrate, pool, stopping.signal);
    await run(ofCopies);
  };
  const commanding = async () => {
    if (ofSagas.length === 0) return;
    // One database is enough to begin with; a command for the other one waits.
    await Promise.race(homes.pools.map((each) => make(migrate, each, stopping.signal)));
    await run(ofSagas);
  };
  await Promise.all([copying(), commanding()]);
}

main(process.env).catch((error) => {
  console.error(error);
  process.exit(1);
});
