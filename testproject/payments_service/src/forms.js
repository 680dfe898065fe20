'use strict';

// The monolith's forms, with their words: clients may have learned them.
const { Refusal } = require('./errors');

const REQUIRED = 'This field is required.';
const CURRENCIES = ['EUR', 'GBP', 'USD'];
const LIMIT_UNVERIFIED = 1_000_000n; // In cents.
// Users are the monolith's: in its own tables, or copied into ours, by src/copies.js.
const [USERS, CHECKS] =
  process.env.COPIES === '1'
    ? ['payments_service_user', 'payments_service_check']
    : ['users_user', 'users_kyccheck'];

/** The fields of a JSON body; anything but an object is as bad as no JSON. */
function fieldsOf(body) {
  try {
    const data = JSON.parse(body);
    if (data !== null && typeof data === 'object' && !Array.isArray(data)) return data;
  } catch {
    // Said below.
  }
  return null;
}

class Form {
  constructor(body) {
    this.fields = fieldsOf(body);
    this.errors = {};
    if (this.fields === null) this.fail('__all__', 'The body must be a JSON object.');
  }

  fail(name, message) {
    (this.errors[name] ??= []).push(message);
  }

  text(name, { required = true, most }) {
    const given = this.fields?.[name];
    const value = given === undefined || given === null ? '' : String(given).trim();
    if (value === '' && required) this.fail(name, REQUIRED);
    if ([...value].length > most) {
      const has = [...value].length;
      this.fail(name, `Ensure this value has at most ${most} characters (it has ${has}).`);
    }
    return value;
  }

  /** Money: in cents, exactly, and as it was written; null if it is none. */
  money(name) {
    const value = this.text(name, { most: Infinity });
    if (value === '') return null;
    const found = /^([+-]?)0*(\d*)(?:\.(\d*))?$/.exec(value);
    if (!found || value.replace(/[^\d]/g, '') === '') {
      this.fail(name, 'Enter a number.');
      return null;
    }
    const [, sign, whole, fraction = ''] = found;
    const most = (limit, what) => `Ensure that there are no more than ${limit} ${what}.`;
    if (whole.length + fraction.length > 12) this.fail(name, most(12, 'digits in total'));
    else if (fraction.length > 2) this.fail(name, most(2, 'decimal places'));
    else if (whole.length > 10) this.fail(name, most(10, 'digits before the decimal point'));
    if (this.errors[name]) return null;
    const cents = BigInt(`${sign === '-' ? '-' : ''}${whole || 0}${fraction.padEnd(2, '0')}`);
    if (cents < 1n) {
      this.fail(name, 'Ensure this value is greater than or equal to 0.01.');
      return null;
    }
    return { cents, text: `${whole || 0}${fraction && `.${fraction}`}` };
  }

  /** The fields, or a refusal with every error. */
  orRefuse(result) {
    if (Object.keys(this.errors).length) throw new Refusal(400, { errors: this.errors });
    return result;
  }
}

const INVALID_USER =
  'Select a valid choice. That choice is not one of the available choices.';

/** Users stay with the monolith: they are asked for there, wherever payments live. */
async function paymentForm(users, body) {
  const form = new Form(body);
  const user = form.text('user', { most: Infinity });
  let isVerified = false;
  if (user) {
    const found = /^\d{1,18}$/.test(user)
      ? await users.query(
          `SELECT EXISTS (SELECT 1 FROM ${CHECKS}
             WHERE user_id = ${USERS}.id AND status = 'passed') AS verified
           FROM ${USERS} WHERE id = $1 AND is_active`,
          [user],
        )
      : { rows: [] };
    if (found.rows.length === 0) form.fail('user', INVALID_USER);
    else isVerified = found.rows[0].verified;
  }
  const amount = form.money('amount');
  const currency = form.text('currency', { most: Infinity });
  if (currency && !CURRENCIES.includes(currency)) {
    const text = `Select a valid choice. ${currency} is not one of the available choices.`;
    form.fail('currency', text);
  }
  const reference = form.text('reference', { required: false, most: 64 });
  if (amount !== null && user && !form.errors.user && amount.cents > LIMIT_UNVERIFIED && !isVerified) {
    form.fail('amount', 'More than 10,000 needs a passed identity check.');
  }
  return form.orRefuse({ user, amount, currency, reference });
}

function failureForm(body) {
  const form = new Form(body);
  return form.orRefuse({ reason: form.text('reason', { most: 200 }) });
}

function refundForm(body) {
  const form = new Form(body);
  const amount = form.money('amount');
  return form.orRefuse({ amount, reason: form.text('reason', { required: false, most: 200 }) });
}

module.exports = { failureForm, paymentForm, refundForm };
