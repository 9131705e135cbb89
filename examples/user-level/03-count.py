#!/usr/bin/env python3
"""Counts the users who came, with noise, and raises the count of the dataset, so that the blocks of full buckets come.
Whoever ingests the data runs it on a schedule, with the users whom it saw for the first time.

usage: python examples/user-level/03-count.py STATE_FILE NEW_USERS LABEL
"""

import sys

import privatekube


def main() -> None:
    """Counts once, and says what everybody may know."""
    state, new_users, label = sys.argv[1:]
    # 65,536 counts, as the dataset's `counted` has it; a day each, they last for 179 years. The 2,250 users whom the
    # dataset begins with were counted before.
    with privatekube.UserCounter.open(state, horizon=65536, epsilon="0.01", start=2250) as counter:
        counter.tick(int(new_users), label=label)
        count = counter.publish("shop/orders")
        print(f"count {counter.count.tick} of {counter.horizon}: the dataset has at least {count} users")


main()
