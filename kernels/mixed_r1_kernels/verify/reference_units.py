"""Units that may stand behind a number, by one name each."""

from __future__ import annotations

import unicodedata

__all__ = ["is_known_unit", "unit_name"]

# The name of each unit, then the other ways to write it; all in small letters without spaces.
TABLE = """
mm millimeter millimeters millimetre millimetres \u6beb\u7c73
cm centimeter centimeters centimetre centimetres cms \u5398\u7c73
dm decimeter decimeters decimetre decimetres \u5206\u7c73
m meter meters metre metres \u7c73
km kilometer kilometers kilometre kilometres kms \u5343\u7c73 \u516c\u91cc
in inch inches
ft foot feet
yd yard yards
mi mile miles
mm^2 mm2 squaremillimeters squaremillimetres
cm^2 cm2 sqcm squarecentimeter squarecentimeters squarecentimetre squarecentimetres \u5e73\u65b9\u5398\u7c73
m^2 m2 sqm squaremeter squaremeters squaremetre squaremetres \u5e73\u65b9\u7c73
km^2 km2 sqkm squarekilometer squarekilometers squarekilometre squarekilometres
in^2 squareinch squareinches sqin
ft^2 squarefoot squarefeet sqft
mi^2 squaremile squaremiles
units^2 squareunit squareunits sq.units squnits
cm^3 cm3 cubiccentimeter cubiccentimeters cubiccentimetres cc
m^3 m3 cubicmeter cubicmeters cubicmetre cubicmetres
in^3 cubicinch cubicinches
ft^3 cubicfoot cubicfeet
units^3 cubicunit cubicunits
unit units
mg milligram milligrams
g gram grams gramme grammes \u514b
kg kilogram kilograms kilo kilos kgs \u5343\u514b \u516c\u65a4
t ton tons tonne tonnes \u5428
lb pound pounds lbs
oz ounce ounces
ml milliliter milliliters millilitre millilitres \u6beb\u5347
l liter liters litre litres \u5347
gal gallon gallons
ms millisecond milliseconds
s sec secs second seconds \u79d2
min mins minute minutes \u5206\u949f
h hr hrs hour hours \u5c0f\u65f6
day days \u5929 \u65e5
week weeks \u5468
month months \u6708 \u4e2a\u6708
year years yr yrs \u5e74 \u5c81 yearsold
decade decades
m/s meterspersecond metrespersecond
m/s^2 m/s2 meterspersecondsquared
km/h kmh kph kilometersperhour kilometresperhour
mph milesperhour mi/h
n newton newtons
j joule joules
w watt watts
kw kilowatt kilowatts
kwh kilowatthour kilowatthours
v volt volts
a amp amps ampere amperes
ohm ohms omega \u03c9
pa pascal pascals
hz hertz
mol mole moles
k kelvin
rad radian radians
\u00b0 degree degrees deg \u5ea6
\u00b0c ^circc circc degreescelsius degreecelsius celsius \u6444\u6c0f\u5ea6
\u00b0f ^circf circf degreesfahrenheit degreefahrenheit fahrenheit
$ dollar dollars usd us$ \u7f8e\u5143
\u20ac euro euros eur \u6b27\u5143
\u00a3 gbp
\u00a5 yuan rmb cny yen jpy \u5143 \u5757 \u65e5\u5143
\u20b9 rupee rupees inr
cent cents
person persons people \u4eba
man men
woman women
child children
boy boys
girl girls
student students
teacher teachers
worker workers
employee employees
user users
household households
respondent respondents
country countries
state states
city cities
item items
object objects
piece pieces
thing things
dog dogs
cat cats
bird birds
car cars
book books
apple apples
ball balls
cube cubes
sphere spheres
cylinder cylinders
block blocks
box boxes
line lines
bar bars
colour colours color colors
category categories
group groups
vote votes
point points
time times
case cases
death deaths
goal goals
game games
seat seats
job jobs
ticket tickets
\u4e2a \u53ea \u6761 \u672c \u8f86 \u4ef6 \u5f20 \u6735 \u68f5 \u53f0 \u5bb6 \u6b21 \u9897 \u7247
"""
NAMES = {word: line.split()[0] for line in TABLE.strip().splitlines() for word in line.split()}
MAX_WRITTEN = 256
REMOVED = str.maketrans({c: "" for c in " \t\n\r\f\v{}.()\\"} | {"\u00b2": "^2", "\u00b3": "^3"})


def unit_name(written: str) -> str | None:
    """The one name of a unit, or None for no known one. White space, braces and full stops do not matter."""
    if len(written) > MAX_WRITTEN:
        return None
    small = "".join(c.lower() if c < "\x80" else c for c in written.translate(REMOVED))
    return NAMES.get(small)


def is_known_unit(name: str) -> bool:
    """Of ``unit_name``, or a sign of a currency; and not the words of an unknown one."""
    return name in NAMES or (len(name) == 1 and unicodedata.category(name) == "Sc")
