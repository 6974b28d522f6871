"""The documentation's tools: reference pages made from the code, blocks of commands, formulas as MathML."""
