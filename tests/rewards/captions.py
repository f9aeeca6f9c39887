"""Captions as image data sets have them, for what BMAS makes of honest and of hollow answers."""

REFERENCES = [
    "A brown dog runs across a grassy field with a red ball in its mouth.",
    "Two children build a sandcastle on the beach while the tide comes in.",
    "A chef in a white hat slices onions on a wooden board in a busy kitchen.",
    "An old steam train crosses a stone bridge over a narrow river valley.",
    "A woman in a yellow raincoat waits at a bus stop under a grey sky.",
    "Several sailing boats lie at anchor in a calm harbour at sunset.",
    "A cat sleeps on top of a pile of folded laundry next to a window.",
    "The bar chart shows that coffee exports rose every year from 2010 to 2015.",
    "A man repairs the chain of a bicycle in a small garage full of tools.",
    "A crowded market stall sells oranges, lemons and large green melons.",
    "Snow covers the roofs of a mountain village below a steep ridge.",
    "A boy in a striped shirt reads a comic book on the floor of a library.",
    "The line graph compares the unemployment rates of three countries.",
    "An elephant sprays water over its back at the edge of a muddy pool.",
    "A violinist performs on a dark stage lit by a single white lamp.",
    "Three hikers climb a rocky trail with heavy backpacks and walking sticks.",
    "A nurse checks the blood pressure of an elderly patient in a hospital bed.",
    "Empty wooden chairs stand in rows in front of an outdoor screen.",
    "A potter shapes a tall clay vase on a spinning wheel with wet hands.",
    "A flock of white birds takes off from a flooded rice field.",
    "The pie chart divides household spending into food, rent and transport.",
    "A mechanic lies under a blue car that is raised on a hydraulic lift.",
    "A girl blows out seven candles on a chocolate birthday cake.",
    "A lighthouse stands on a cliff above rough waves during a storm.",
]

QUESTION = "Describe the picture in one sentence."
