'use strict';

const { provider } = require('./tracing');
const { setTimeout: sleep } = require('node:timers/promises');
const { Consumer } = require('./consumer');
const { Outage, migrate, openPool } = require('./store');

const PAUSE = 1000;

/** Make the tables as soon as the database is there: it may start after this process. */
async function prepare(pool) {
  while (true) {
    try {
      return await migrate(pool);
    } catch (error) {
      if (!(error instanceof Outage)) throw error;
      console.error(`PostgreSQL: ${error.message}; trying again`);
      await sleep(PAUSE);
    }
  }
}

async function main(env) {
  const pool = openPool(env.DATABASE_URL);
  await prepare(pool);
  const consumer = new Consumer({
    url: env.BROKER_URL ?? 'amqp://localhost',
    exchange: env.EXCHANGE,
    queue: env.QUEUE,
    pool,
  });
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => consumer.stop());
  }
  await consumer.run();
  await pool.end();
  await provider.shutdown();
}

main(process.env).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
