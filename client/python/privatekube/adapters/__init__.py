"""Mechanisms from what other libraries account with. Each module needs its library only to be there when it is used.

An event without an honest counterpart is refused by name (`NoCounterpart`); nothing is ever claimed for less than it
costs.
"""
