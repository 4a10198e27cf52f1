"""How each kind of fault is made; `tests.chaos.faults.injector` runs those that a schedule planned."""
