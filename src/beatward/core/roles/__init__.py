"""Who holds the role of a service in failover mode, and when it may move.

    a member's report -> `reports` -> `machine` -> an entry of the journal -> a grant of `lease`

`phases` has the table of all ways and `machine` alone writes a role. The others answer its
questions: how long a holder may hold (`lease`), which process of a name speaks
(`other_processes`), who could take the role and whom to choose (`candidates`, `rounds`). `fencing`,
`rows` and `views` only read. Not here: which nodes offer which services, and what is written down
(`core.services`).
"""
