#include "core/verify_units.h"

#include <algorithm>
#include <unordered_map>

#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

// The name of each unit, then the other ways to write it; in small letters without spaces.
constexpr const char32_t* kTable[] = {
    U"mm millimeter millimeters millimetre millimetres \u6beb\u7c73",
    U"cm centimeter centimeters centimetre centimetres cms \u5398\u7c73",
    U"dm decimeter decimeters decimetre decimetres \u5206\u7c73",
    U"m meter meters metre metres \u7c73",
    U"km kilometer kilometers kilometre kilometres kms \u5343\u7c73 \u516c\u91cc",
    U"in inch inches",
    U"ft foot feet",
    U"yd yard yards",
    U"mi mile miles",
    U"mm^2 mm2 squaremillimeters squaremillimetres",
    U"cm^2 cm2 sqcm squarecentimeter squarecentimeters squarecentimetre squarecentimetres \u5e73\u65b9\u5398\u7c73",
    U"m^2 m2 sqm squaremeter squaremeters squaremetre squaremetres \u5e73\u65b9\u7c73",
    U"km^2 km2 sqkm squarekilometer squarekilometers squarekilometre squarekilometres",
    U"in^2 squareinch squareinches sqin",
    U"ft^2 squarefoot squarefeet sqft",
    U"mi^2 squaremile squaremiles",
    U"units^2 squareunit squareunits sq.units squnits",
    U"cm^3 cm3 cubiccentimeter cubiccentimeters cubiccentimetres cc",
    U"m^3 m3 cubicmeter cubicmeters cubicmetre cubicmetres",
    U"in^3 cubicinch cubicinches",
    U"ft^3 cubicfoot cubicfeet",
    U"units^3 cubicunit cubicunits",
    U"unit units",
    U"mg milligram milligrams",
    U"g gram grams gramme grammes \u514b",
    U"kg kilogram kilograms kilo kilos kgs \u5343\u514b \u516c\u65a4",
    U"t ton tons tonne tonnes \u5428",
    U"lb pound pounds lbs",
    U"oz ounce ounces",
    U"ml milliliter milliliters millilitre millilitres \u6beb\u5347",
    U"l liter liters litre litres \u5347",
    U"gal gallon gallons",
    U"ms millisecond milliseconds",
    U"s sec secs second seconds \u79d2",
    U"min mins minute minutes \u5206\u949f",
    U"h hr hrs hour hours \u5c0f\u65f6",
    U"day days \u5929 \u65e5",
    U"week weeks \u5468",
    U"month months \u6708 \u4e2a\u6708",
    U"year years yr yrs \u5e74 \u5c81 yearsold",
    U"decade decades",
    U"m/s meterspersecond metrespersecond",
    U"m/s^2 m/s2 meterspersecondsquared",
    U"km/h kmh kph kilometersperhour kilometresperhour",
    U"mph milesperhour mi/h",
    U"n newton newtons",
    U"j joule joules",
    U"w watt watts",
    U"kw kilowatt kilowatts",
    U"kwh kilowatthour kilowatthours",
    U"v volt volts",
    U"a amp amps ampere amperes",
    U"ohm ohms omega \u03c9",
    U"pa pascal pascals",
    U"hz hertz",
    U"mol mole moles",
    U"k kelvin",
    U"rad radian radians",
    U"\u00b0 degree degrees deg \u5ea6",
    U"\u00b0c ^circc circc degreescelsius degreecelsius celsius \u6444\u6c0f\u5ea6",
    U"\u00b0f ^circf circf degreesfahrenheit degreefahrenheit fahrenheit",
    U"$ dollar dollars usd us$ \u7f8e\u5143",
    U"\u20ac euro euros eur \u6b27\u5143",
    U"\u00a3 gbp",
    U"\u00a5 yuan rmb cny yen jpy \u5143 \u5757 \u65e5\u5143",
    U"\u20b9 rupee rupees inr",
    U"cent cents",
    U"person persons people \u4eba",
    U"man men",
    U"woman women",
    U"child children",
    U"boy boys",
    U"girl girls",
    U"student students",
    U"teacher teachers",
    U"worker workers",
    U"employee employees",
    U"user users",
    U"household households",
    U"respondent respondents",
    U"country countries",
    U"state states",
    U"city cities",
    U"item items",
    U"object objects",
    U"piece pieces",
    U"thing things",
    U"dog dogs",
    U"cat cats",
    U"bird birds",
    U"car cars",
    U"book books",
    U"apple apples",
    U"ball balls",
    U"cube cubes",
    U"sphere spheres",
    U"cylinder cylinders",
    U"block blocks",
    U"box boxes",
    U"line lines",
    U"bar bars",
    U"colour colours color colors",
    U"category categories",
    U"group groups",
    U"vote votes",
    U"point points",
    U"time times",
    U"case cases",
    U"death deaths",
    U"goal goals",
    U"game games",
    U"seat seats",
    U"job jobs",
    U"ticket tickets",
    U"\u4e2a \u53ea \u6761 \u672c \u8f86 \u4ef6 \u5f20 \u6735 \u68f5 \u53f0 \u5bb6 \u6b21 \u9897 \u7247",
};

using Names = std::unordered_map<std::u32string, std::u32string>;

Names make_names() {
  Names names;
  for (const std::u32string_view line : kTable) {
    std::u32string_view name;
    for (std::size_t i = 0; i < line.size();) {
      const std::size_t end = std::min(line.find(U' ', i), line.size());
      if (name.empty()) name = line.substr(0, end);
      names.insert_or_assign(std::u32string(line.substr(i, end - i)), std::u32string(name));
      i = end + 1;
    }
  }
  return names;
}

const Names& all_names() {
  static const Names names = make_names();
  return names;
}

constexpr std::size_t kMaxWritten = 256;

}  // namespace

std::u32string unit_name(std::u32string_view written) {
  if (written.size() > kMaxWritten) return {};
  std::u32string small;
  for (const char32_t c : written) {
    if (is_space(c) || std::u32string_view(U"{}.()\\").find(c) != std::u32string_view::npos) continue;
    if (c == 0xB2 || c == 0xB3) {
      small.append(c == 0xB2 ? U"^2" : U"^3");
    } else {
      small.push_back(ascii_lower(c));
    }
  }
  const auto found = all_names().find(small);
  return found == all_names().end() ? std::u32string() : found->second;
}

bool is_known_unit(std::u32string_view name) {
  return all_names().contains(std::u32string(name)) || (name.size() == 1 && is_currency(name[0]));
}

}  // namespace mixed_r1::verify
