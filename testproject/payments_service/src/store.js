'use strict';

const { DatabaseError, Pool } = require('pg');
const { Outage, Refusal } = require('./errors');

// Milliseconds. A database that says nothing any more must not hold up a request.
const PATIENCE = { connectionTimeoutMillis: 2_000, query_timeout: 5_000 };

/** Connections to a database; losing one must not end the process. */
function openPool(connectionString, log = console, patience = PATIENCE) {
  const pool = new Pool({ connectionString, max: 10, ...patience });
  pool.on('error', (error) => log.error(`PostgreSQL: ${error.message}`)); // An idle one.
  pool.on('connect', (client) => client.on('error', () => {})); // Its next query fails.
  return pool;
}

// By SQLSTATE: connection, a standby after a failover, deadlock, resources, a lock, an
// operator or a timeout, the disk.
const OUTAGE = /^(08|25006|40|53|55P03|57|58)/;
// pg's words for a database that says nothing: it has no class or code for that.
const isSilence = (error) => error.message === 'Query read timeout' && !(error instanceof Outage);

/**
 * Run the work in a transaction: all of it, or nothing if it throws.
 *
 * `begin` may ask for more than that; the work is given what it brings.
 */
async function inTransaction(pool, work, begin = 'BEGIN') {
  const client = await pool.connect().catch((error) => {
    throw new Outage(error);
  });
  let hasBegun = false;
  let broken;
  try {
    const begun = await client.query(begin);
    hasBegun = true;
    const result = await work(client, begun);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    // A connection that owes an answer is let go, and with it what it has begun.
    if (isSilence(error)) broken = error;
    else {
      await client.query('ROLLBACK').catch((lost) => {
        broken = lost;
      });
    }
    if (error instanceof Refusal) throw error;
    // Whatever the work made of it: without its connection it could not succeed.
    if (broken) throw new Outage(error, { atWork: hasBegun });
    throw error instanceof DatabaseError && OUTAGE.test(error.code) ? new Outage(error) : error;
  } finally {
    client.release(broken);
  }
}

module.exports = { inTransaction, openPool };
