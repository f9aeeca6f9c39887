// Completions against golds: format, extracted answer, task value, reasons, boxes. What every step means is written in
// mixed_r1_kernels/verify/api.py and its reference; this is an implementation of its own: one pass over the bytes, no
// regular expressions, no recursion, time linear in the completion.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/verify_chart.h"
#include "core/verify_choice.h"
#include "core/verify_math.h"
#include "core/verify_reading.h"
#include "core/verify_reason.h"

namespace mixed_r1::verify {

enum class Task : int { yes_no, multiple_choice, chart, math, grounding, open_ended };

enum class Format : int { think_answer, answer, boxed, think_boxed, none };

enum class ListOrder : int { automatic, ordered, any };

struct Settings {
  Format format = Format::think_answer;
  std::string think_tag = "think";
  std::string answer_tag = "answer";
  bool graded = false;  // chart_score
  bool anls = false;    // chart_text
  double chart_tolerance = 0.05;
  std::size_t max_bytes = std::size_t{1} << 20;
  std::size_t max_answer_bytes = 4096;
  std::size_t max_items = 64;
  std::size_t max_boxes = 256;
  std::size_t max_depth = 64;
  bool prefilled = false;  // think: the prompt opens the thought
  Box box = Box::only;
  ListOrder list_order = ListOrder::automatic;
  bool tolerant_years = false;  // chart_years
  bool point = false;           // places: one point, not boxes
};

// What the data set says, in UTF-8. A chart may have a list of answers; the others have one, or none.
struct GoldSpec {
  Task task = Task::open_ended;
  std::vector<std::string> answers;
  bool is_list = false;
  std::vector<std::string> options;
  Settings settings;
};

struct Verdict {
  double value = 0.0;
  Reason reason = Reason::no_match;
};

// A gold read once. `valid` is false where nothing can be scored against it.
struct Gold {
  explicit Gold(const GoldSpec& spec);

  Task task;
  Settings settings;
  bool valid = true;
  std::variant<std::monostate, bool, ChoiceGold, ChartGold, MathGold> answer;
  std::string think_open, think_close, answer_open, answer_close;
  std::vector<Gold> others;  // alternatives that are as right; valid only where all are
};

struct Row {
  double format_value = 0.0;
  double task_value = 0.0;
  Reason format_reason = Reason::ok;
  Reason task_reason = Reason::ok;
  std::size_t begin = 0, end = 0;  // bytes of the stripped answer
  std::size_t num_boxes = 0;
};

// Scores one completion; its boxes are appended to `boxes`, four doubles each. `is_utf8` says that the caller knows it
// to be valid UTF-8.
Row score(std::string_view completion, const Gold& gold, bool is_utf8, std::vector<double>& boxes);

// The row of a completion whose text cannot be read at all.
Row unreadable(const Gold& gold, Reason reason);

// Golds, and answers as the one reading left them, each task in a file of its own.
bool compile_chart(const GoldSpec& spec, ChartGold& out);
bool compile_math(const GoldSpec& spec, MathGold& out);
Verdict score_yes_no(std::u32string_view answer, bool gold);
Verdict score_choice(std::u32string_view answer, const ChoiceGold& gold);
Verdict score_chart(std::u32string_view answer, const ChartGold& gold, const Settings& settings);
Verdict score_math(std::u32string_view answer, const MathGold& gold, const Settings& settings);
Reason parse_boxes(std::string_view answer, const Settings& settings, std::vector<double>& boxes);

}  // namespace mixed_r1::verify
