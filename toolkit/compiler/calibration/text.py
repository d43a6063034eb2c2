"""What a model reads while its values are measured: several languages, numbers, code, a list.

A token that means little, such as the first one, a line's end or a full stop, is where models have
their largest values: so there are many of these.
"""

TEXT = """The river rises in the hills, three days from the sea. In 1874 a bridge was built there, \
and it cost £12,450.75; nobody knew who would pay for it. "We shall see," said the mayor.

1. Wash the rice twice, until the water is clear.
2. Boil 350 ml of water; add salt, then the rice.
3. Wait 12 minutes. Don't stir!

def mean(values: list[float]) -> float:
    # the average
    return sum(values) / len(values) if values else 0.0

Der Zug fährt um 7:45 Uhr ab. Où est la gare, s'il vous plaît ? ¿Cuánto cuesta? 今天天气很好。 \
これは本です。 Это хорошая книга. هذا كتاب جيد.

{"name": "Ada", "born": 1815, "tags": ["x", "y"]}
E = mc², 2 + 2 = 4, x² - 1 = (x - 1)(x + 1); 40 %.

Q: What is the capital of France?
A: Paris.

...and so on,,, and so on
"""
