"""What a training by so many processes needs: memory, messages and time, from formulas (docs/scale.md)."""
