#!/bin/sh
# Whoever ingests the data raises the count: a third bucket is full, its block comes, and what waits for it runs.
exec kubectl patch pds orders -n shop --type merge -p '{"spec": {"blocks": {"users": {"count": 3104}}}}'
