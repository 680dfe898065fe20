'use strict';

const { provider } = require('./tracing');
const { Consumer } = require('./consumer');
const { migrate, openPool } = require('./store');

async function main(env) {
  const pool = openPool(env.DATABASE_URL);
  await migrate(pool);
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
