'use strict';

const { Bugs } = require('./bugs');
const { commands } = require('./commands');
const copies = require('./copies');
const { Verifier } = require('./identity');
const { migrate } = require('./sagas');
const { createServer } = require('./server');
const { openPool } = require('./store');

async function main(env) {
  const pool = openPool(env.DATABASE_URL);
  const bugs = new Bugs();
  bugs.isOpen = env.BUGS === '1';
  const verifier = env.KEYS_URL
    ? new Verifier({ url: env.KEYS_URL, audience: env.AUDIENCE ?? 'payments' })
    : undefined;
  const server = createServer({ pool, bugs, verifier });
  server.listen(Number(env.PORT ?? 3000), env.HOST ?? '127.0.0.1', () => {
    console.info(`payments: http://127.0.0.1:${server.address().port}/payments/`);
  });
  const about = { url: env.BROKER_URL, pool };
  const consumers = [
    ...(env.BROKER_URL ? [commands(about)] : []),
    ...(env.BROKER_URL && env.COPIES === '1' ? [copies.copies(about)] : []),
  ];
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      // What is in hand is finished; idle connections are closed.
      server.close(async () => {
        await Promise.all(consumers.map((consumer) => consumer.stop()));
        await pool.end();
      });
      server.closeIdleConnections();
    });
  }
  if (env.COPIES === '1') await copies.migrate(pool);
  if (consumers.length) {
    await migrate(pool);
    await Promise.all(consumers.map((consumer) => consumer.run()));
  }
}

main(process.env).catch((error) => {
  console.error(error);
  process.exit(1);
});
