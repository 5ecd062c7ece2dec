"""The audit of timers: the same functions, timed by llmbench and by the tools that people use."""
