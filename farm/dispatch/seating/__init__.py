"""Which device renders which checkpoint: the board of seats, and the rules that move devices on it.

In the order of the rules: `interactive` work, `dry` seats, `busy` seats that move for fairness, what hosts read
`ahead`. Entered by `plan` alone.
"""
