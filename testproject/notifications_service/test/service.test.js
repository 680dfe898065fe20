'use strict';

// With a real RabbitMQ and PostgreSQL: BROKER_URL and DATABASE_URL say where.
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { randomUUID } = require('node:crypto');
const net = require('node:net');
const path = require('node:path');
const { after, before, beforeEach, test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');
const { Consumer } = require('../src/consumer');
const { Outage, migrate, openPool, recordOnce } = require('../src/store');

const { BROKER_URL, DATABASE_URL } = process.env;
const skip = BROKER_URL && DATABASE_URL ? false : 'BROKER_URL and DATABASE_URL are not set';
const names = { exchange: `test-${randomUUID()}`, queue: `test-${randomUUID()}` };
const silent = { info() {}, error() {} };
let pool, connection, channel, consumer, running;
let settled = 0;

async function eventually(condition, what) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await sleep(20);
  }
}

/** Every delivery is done with: none is left to write into the next test's tables. */
const done = (deliveries) =>
  eventually(() => settled === deliveries, `${deliveries} deliveries`);

const count = async (table) =>
  Number((await pool.query(`SELECT count(*) FROM ${table}`)).rows[0].count);

class Counted extends Consumer {
  async settle(...delivery) {
    await super.settle(...delivery);
    settled += 1;
  }
}

function publish(body, { type = 'payment.completed', headers, ...properties } = {}) {
  const messageId = randomUUID();
  const content = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  channel.publish(names.exchange, type, content, {
    messageId,
    type,
    headers: { 'flag-notifications-v2': 'on', ...headers },
    ...properties,
  });
  return messageId;
}

before(async () => {
  if (skip) return;
  pool = openPool(DATABASE_URL, silent);
  await Promise.all([migrate(pool), migrate(pool)]);
  connection = await amqp.connect(BROKER_URL);
  channel = await connection.createChannel();
  consumer = new Counted({ url: BROKER_URL, pool, log: silent, ...names });
  running = consumer.run();
  await eventually(() => consumer.channel, 'a consumer');
});

beforeEach(async () => {
  if (skip) return;
  settled = 0;
  await pool.query('TRUNCATE mails, inbox');
});

after(async () => {
  if (skip) return;
  await consumer.stop();
  await running;
  await channel.deleteQueue(names.queue);
  await channel.deleteQueue(`${names.queue}.dead`);
  await channel.deleteExchange(`${names.queue}.dead`);
  await channel.deleteExchange(names.exchange);
  await connection.close();
  await pool.end();
});

const PAYMENT = { paymentId: 42, userId: 7, amount: '9.90', currency: 'EUR' };

test('an event becomes one mail, however often it comes', { skip }, async () => {
  const messageId = publish(PAYMENT);
  for (let n = 0; n < 4; n++) publish(PAYMENT, { messageId });
  publish({ userId: 8 }, { type: 'user.signup' });

  await done(6);
  assert.equal(await count('inbox'), 2);
  const { rows } = await pool.query('SELECT user_id, subject FROM mails ORDER BY user_id');
  assert.deepEqual(rows, [
    { user_id: '7', subject: 'You paid 9.90 EUR' },
    { user_id: '8', subject: 'Welcome' },
  ]);
});

test('what the monolith still serves is left alone', { skip }, async () => {
  publish(PAYMENT, { headers: { 'flag-notifications-v2': 'off' } });
  publish({ userId: 8 }, { type: 'user.signup' });

  await done(2);
  const { rows } = await pool.query('SELECT user_id FROM mails');
  assert.deepEqual(rows, [{ user_id: '8' }]);
});

test('poison goes to the dead letters, and the rest goes on', { skip }, async () => {
  for (const bad of ['{', 'null', '{"userId": "x"}']) publish(bad);
  publish(PAYMENT, { messageId: 'no uuid' });
  publish(PAYMENT);

  await done(5);
  assert.equal(await count('mails'), 1);
  const dead = `${names.queue}.dead`;
  await eventually(
    async () => (await channel.checkQueue(dead)).messageCount === 4,
    'four dead letters',
  );
  await channel.purgeQueue(dead);
});

/** What the service tells about its mails, by type. */
async function overhear(t) {
  const told = [];
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, names.exchange, 'mail.*');
  const note = (message) => told.push(message.fields.routingKey);
  const { consumerTag } = await channel.consume(queue, note, { noAck: true });
  t.after(async () => {
    await channel.cancel(consumerTag);
    await channel.deleteQueue(queue);
  });
  return told;
}

test('each mail is told once, and what is no mail is not', { skip }, async (t) => {
  const told = await overhear(t);
  publish('{'); // Nobody can tell whose it is.
  publish(PAYMENT, { messageId: 'no uuid' });
  publish({}, { headers: { 'flag-notifications-v2': 'off' } });
  publish({ userId: 7 }); // It would be a mail, but for what it lacks.
  const messageId = publish(PAYMENT);
  await done(5);
  publish(PAYMENT, { messageId });
  await done(6);
  publish({ userId: 8 }, { type: 'user.signup' });
  await done(7);

  await eventually(() => told.length >= 3, `three are told: ${told}`);
  assert.deepEqual(told.toSorted(), ['mail.failed', 'mail.written', 'mail.written']);
  await channel.purgeQueue(`${names.queue}.dead`);
});

test('whom RabbitMQ does not let tell, still writes', { skip }, async () => {
  const before = consumer.channel;
  consumer.exchange = `not-there-${randomUUID()}`;
  try {
    publish(PAYMENT);
    await done(1);
    await eventually(() => consumer.voice === undefined, 'its channel is closed');
    publish(PAYMENT);
    await done(2);
  } finally {
    consumer.exchange = names.exchange;
  }

  assert.equal(await count('mails'), 2);
  assert.equal(consumer.channel, before);
  assert.equal((await channel.checkQueue(names.queue)).messageCount, 0);
});

test('a cancelled consumer declares its queue again', { skip }, async () => {
  const before = consumer.channel;
  await channel.deleteQueue(names.queue);
  await eventually(() => consumer.channel !== before, 'another channel');

  publish(PAYMENT);

  await done(1);
  assert.equal(await count('mails'), 1);
});

test('who is stopped while it connects ends', { skip, timeout: 60_000 }, async () => {
  const other = new Consumer({ url: BROKER_URL, pool, log: silent, ...names });
  const ended = other.run();
  await other.stop();

  await ended;
});

test('a lost database connection loses nothing', { skip }, async () => {
  for (let n = 0; n < 50; n++) publish(PAYMENT);
  await pool.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  );

  await done(50);
  assert.equal(await count('mails'), 50);
  assert.equal(await count('inbox'), 50);
});

test('a connection that ended before it was asked is an outage', { skip }, async () => {
  const client = await pool.connect();
  await client.end();
  const event = { id: randomUUID() };

  await assert.rejects(recordOnce({ connect: async () => client }, event, {}), Outage);
});

/** The URL of another database, role or server than that of the tests. */
function elsewhere(changes) {
  return Object.assign(new URL(DATABASE_URL), changes).href;
}

for (const [what, url] of Object.entries({
  'a database that is not there': () => elsewhere({ pathname: '/not-there' }),
  'a role that may not log in': () => elsewhere({ username: 'nobody-here' }),
  'a server that is not there': () => elsewhere({ port: '1' }),
})) {
  test(`${what} is an outage`, { skip }, async () => {
    const other = openPool(url(), silent);

    await assert.rejects(recordOnce(other, { id: randomUUID() }, {}), Outage);
    await other.end();
  });
}

test('a server that says nothing is an outage', { skip }, async (t) => {
  const mute = net.createServer();
  await new Promise((resolve) => mute.listen(0, '127.0.0.1', resolve));
  t.after(() => mute.close());
  const { port } = mute.address();
  const patience = { connectionTimeoutMillis: 100 };
  const other = openPool(`postgresql://127.0.0.1:${port}/x`, silent, patience);

  await assert.rejects(recordOnce(other, { id: randomUUID() }, {}), Outage);
  await other.end();
});

test('a statement that waits too long is an outage', { skip }, async () => {
  const event = { id: randomUUID() };
  const holder = await pool.connect();
  await holder.query('BEGIN; LOCK TABLE inbox');
  const url = new URL(DATABASE_URL);
  url.searchParams.set('options', '-c statement_timeout=50');
  const other = openPool(url.href, silent);

  await assert.rejects(recordOnce(other, event, {}), Outage);
  await holder.query('ROLLBACK');
  holder.release();
  await other.end();
});

test('a process that starts before its database waits for it', { skip }, async (t) => {
  const { hostname, port } = new URL(DATABASE_URL);
  let open = false;
  const door = net.createServer((client) => {
    if (!open) return client.destroy();
    const server = net.connect(Number(port) || 5432, hostname);
    for (const [one, other] of [[client, server], [server, client]]) {
      one.pipe(other);
      one.on('error', () => other.destroy());
    }
  });
  await new Promise((resolve) => door.listen(0, '127.0.0.1', resolve));
  const at = String(door.address().port);

  let said = '';
  const service = spawn(process.execPath, ['src/main.js'], {
    cwd: path.dirname(__dirname),
    env: {
      ...process.env,
      DATABASE_URL: elsewhere({ hostname: '127.0.0.1', port: at }),
      EXCHANGE: names.exchange,
      QUEUE: names.queue,
    },
  });
  const exited = new Promise((resolve) => service.once('exit', resolve));
  t.after(() => {
    service.kill('SIGKILL');
    door.close();
  });
  for (const stream of [service.stdout, service.stderr]) {
    stream.on('data', (data) => (said += data));
  }
  await eventually(() => said.includes('PostgreSQL: '), 'it says what it waits for');
  open = true;
  await eventually(() => said.includes('Consuming'), `it consumes: ${said}`);

  service.kill('SIGTERM');

  assert.equal(await exited, 0);
});
