"""The prompt language: AUTOMATIC1111's attention, schedules, composition and tags, and dynamic prompts.

A prompt passes through these, in this order: `dynamic` unfolds it at submit; `networks` takes the
LoRA tags out; `compose` splits it at AND; `schedule` says what holds at which step; `attention`
weighs the words. `plan` does all but the first.
"""
