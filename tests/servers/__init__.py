"""Real servers with faults to order, for tests. Loopback only, on ports of their own."""
