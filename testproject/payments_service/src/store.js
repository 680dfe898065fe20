'use strict';

const { Pool } = require('pg');

// Milliseconds. A database that says nothing any more must not hold up a request.
const PATIENCE = { connectionTimeoutMillis: 2_000, query_timeout: 5_000 };

/** Connections to the monolith's database; losing one must not end the process. */
function openPool(connectionString, log = console, patience = PATIENCE) {
  const pool = new Pool({ connectionString, max: 10, ...patience });
  pool.on('error', (error) => log.error(`PostgreSQL: ${error.message}`)); // An idle one.
  pool.on('connect', (client) => client.on('error', () => {})); // Its next query fails.
  return pool;
}

/** Run the work in a transaction: all of it, or nothing if it throws. */
async function inTransaction(pool, work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((lost) => {
      broken = lost;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

module.exports = { inTransaction, openPool };
