"""The prompt language: AUTOMATIC1111's attention, schedules, composition and tags, and dynamic prompts.

A prompt passes through these, in this order: `dynamic` unfolds it at submit; `networks` takes the
LoRA tags out; `compose` splits it at AND; `schedule` finds the text of each step; `attention`
weights the words. `plan` does all but the first.
"""
