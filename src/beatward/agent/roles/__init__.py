"""A node's part in failover: to take a role when it is lent, and to give it up in time.

    lease_holder      who may act, and until when, as a pure machine
    shared_holder     the same for two threads: one speaks for it, one acts for it
    runner            the loop that acts for a role, through a workload:
                      `guardian_workload` by hooks, `role` by a program's callbacks, `async_role`
                      by a task of its loop; `program_workload` is what the last two share
    guardian          the process that runs the hooks and outlives the agent; `guardian_client` asks
                      it over a `channel`, and its `lock` proves its end
    standby           getting ready to take over

Not here: what the monitor decides (`core`), and how reports and grants travel
(`monitor_connection`, `registrations`).
"""
