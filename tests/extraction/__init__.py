"""
One extraction from end to end, under fire: payments leave the monolith.

    stage        the processes, their servers and their networks
    customers    who sign up, pay, refund and look, over HTTP, with keys and retries
    outside      the bank and the post office, each with a ledger of its own
    team         the steps of the extraction, one command after the other
    nemesis      what is done to processes, servers and networks meanwhile
    history      what each of them wrote down
    judge        compares, from outside, what was answered with what is so
    report       one page of HTML about it

Nobody but the judge looks at more than one of them: customers know what they were
answered, the bank what it booked, the databases what is in them.
"""
