'use strict';

const { randomUUID } = require('node:crypto');
const { conflict, notFound, Refusal } = require('./errors');
const { failureForm, paymentForm, refundForm } = require('./forms');
const { publish } = require('./outbox');

const PAGE = 100;
const COLUMNS = 'id, user_id, amount, currency, status, reference, created_at, completed_at';
// Mails of what happens here come from the new notifications, for everybody.
const MOVED = { 'flag-notifications-v2': 'on' };

const asDecimal = (cents) => {
  const digits = String(cents).padStart(3, '0');
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`;
};
const inCents = (decimal) => BigInt(decimal.replace('.', ''));

/** As Django writes a time: milliseconds, or none of them. */
const asTime = (time) => time && time.toISOString().replace('.000Z', 'Z');

function asJson(row) {
  return {
    id: Number(row.id),
    user: Number(row.user_id),
    amount: row.amount,
    currency: row.currency,
    status: row.status,
    reference: row.reference,
    created_at: asTime(row.created_at),
    completed_at: asTime(row.completed_at),
  };
}

const keyOf = (id) => `payments.payment:${id}`;

async function list(client, query) {
  const user = query.get('user');
  if (user && !/^\d+$/.test(user)) {
    throw new Refusal(400, { errors: { user: ['Not a number.'] } });
  }
  const { rows } = await client.query(
    `SELECT ${COLUMNS} FROM payments_payment
     WHERE ($1::bigint IS NULL OR user_id = $1) AND ($2::text IS NULL OR status = $2)
     ORDER BY id DESC LIMIT ${PAGE}`,
    [user || null, query.get('status') || null],
  );
  return { status: 200, body: { payments: rows.map(asJson) } };
}

async function detail(client, id) {
  const { rows } = await client.query(
    `SELECT ${COLUMNS} FROM payments_payment WHERE id = $1`,
    [id],
  );
  if (rows.length === 0) throw notFound();
  const refunds = await client.query(
    'SELECT id, amount, reason FROM payments_refund WHERE payment_id = $1 ORDER BY id',
    [id],
  );
  const receipts = await client.query(
    'SELECT text FROM notifications_receipt WHERE payment_id = $1 ORDER BY id',
    [id],
  );
  return {
    status: 200,
    body: {
      ...asJson(rows[0]),
      refunds: refunds.rows.map((row) => ({ ...row, id: Number(row.id) })),
      receipts: receipts.rows.map((row) => row.text),
    },
  };
}

async function create(client, body, users = client) {
  const { user, amount, currency, reference } = await paymentForm(users, body);
  const { rows } = await client.query(
    `INSERT INTO payments_payment (user_id, amount, currency, status, reference, created_at)
     VALUES ($1, $2, $3, 'pending', $4, now())
     ON CONFLICT (reference) DO NOTHING RETURNING ${COLUMNS}`,
    [user, amount.text, currency, reference || randomUUID().replaceAll('-', '')],
  );
  if (rows.length === 0) throw conflict('This reference is taken.');
  const payment = { ...asJson(rows[0]), amount: amount.text }; // As the monolith answers.
  const { id, user: userId } = payment;
  await publish(
    client,
    'payment.created',
    { paymentId: id, userId, amount: payment.amount, currency },
    { key: keyOf(id) },
  );
  return { status: 201, body: payment };
}

/** The payment's row, locked: events of one payment are published in its order. */
async function locked(client, id) {
  const { rows } = await client.query(
    `SELECT ${COLUMNS} FROM payments_payment WHERE id = $1 FOR UPDATE`,
    [id],
  );
  if (rows.length === 0) throw notFound();
  return rows[0];
}

async function book(client, payment, kind, amount) {
  await client.query(
    `INSERT INTO payments_ledgerentry (user_id, payment_id, kind, amount, currency, created_at)
     VALUES ($1, $2, $3, $4, $5, now())`,
    [payment.user_id, payment.id, kind, amount, payment.currency],
  );
}

async function complete(client, id) {
  const payment = await locked(client, id);
  if (payment.status !== 'pending') throw conflict(`The payment is ${payment.status}.`);
  await client.query(
    "UPDATE payments_payment SET status = 'completed', completed_at = now() WHERE id = $1",
    [id],
  );
  await book(client, payment, 'payment', payment.amount);
  await publish(
    client,
    'payment.completed',
    {
      paymentId: Number(id),
      userId: Number(payment.user_id),
      amount: payment.amount,
      currency: payment.currency,
    },
    { key: keyOf(id), headers: MOVED },
  );
  return { status: 200, body: { status: 'completed' } };
}

async function fail(client, id, body) {
  const { reason } = failureForm(body);
  const payment = await locked(client, id);
  if (payment.status !== 'pending') throw conflict(`The payment is ${payment.status}.`);
  await client.query("UPDATE payments_payment SET status = 'failed' WHERE id = $1", [id]);
  await publish(
    client,
    'payment.failed',
    { paymentId: Number(id), userId: Number(payment.user_id), reason },
    { key: keyOf(id), headers: MOVED },
  );
  return { status: 200, body: { status: 'failed' } };
}

async function refund(client, id, body) {
  const { amount, reason } = refundForm(body);
  const payment = await locked(client, id);
  const given = await client.query(
    'SELECT coalesce(sum(amount), 0)::numeric(14, 2) AS total FROM payments_refund WHERE payment_id = $1',
    [id],
  );
  const left =
    payment.status === 'completed' ? inCents(payment.amount) - inCents(given.rows[0].total) : 0n;
  if (amount.cents > left) {
    // Django's words: a payment that is not completed has 0, and no cents.
    const shown = payment.status === 'completed' ? asDecimal(left) : '0';
    throw conflict(`Only ${shown} can be refunded.`);
  }
  const { rows } = await client.query(
    `INSERT INTO payments_refund (payment_id, amount, reason, created_at)
     VALUES ($1, $2, $3, now()) RETURNING id`,
    [id, amount.text, reason],
  );
  const refundId = Number(rows[0].id);
  await book(client, payment, 'refund', `-${amount.text}`);
  let { status } = payment;
  if (amount.cents === left) {
    status = 'refunded';
    await client.query('UPDATE payments_payment SET status = $2 WHERE id = $1', [id, status]);
  }
  await publish(
    client,
    'payment.refunded',
    {
      paymentId: Number(id),
      refundId,
      userId: Number(payment.user_id),
      amount: amount.text,
      currency: payment.currency,
    },
    { key: keyOf(id), headers: MOVED },
  );
  return { status: 201, body: { id: refundId, status } };
}

module.exports = { complete, create, detail, fail, list, refund };
