#include "core/verify.h"

#include <algorithm>
#include <limits>

#include "core/verify_find.h"
#include "core/verify_leads.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool has_nul(std::string_view text) { return text.find(char{0}) != std::string_view::npos; }

bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_space(static_cast<unsigned char>(c)); });
}

Reason unreadable_reason(std::string_view text, const Settings& settings, bool is_utf8) {
  if (text.size() > settings.max_bytes) return Reason::too_long;
  if (has_nul(text) || !(is_utf8 || is_valid_utf8(text))) return Reason::bad_utf8;
  return is_blank(text) ? Reason::empty : Reason::ok;
}

void set_task(Row& row, const Gold& gold, double value, Reason reason) {
  row.task_value = gold.valid ? value : kNaN;
  row.task_reason = gold.valid ? reason : Reason::bad_gold;
}

void set_format(Row& row, const Gold& gold, Reason reason) {
  const bool none = gold.settings.format == Format::none;
  row.format_value = none ? kNaN : reason == Reason::ok ? 1.0 : 0.0;
  row.format_reason = none ? Reason::not_applicable : reason;
}

// The one reading of an answer, then its task.
Verdict score_text(std::string_view answer, const Gold& gold) {
  if (gold.task == Task::open_ended) return {kNaN, Reason::ok};
  thread_local std::u32string text;
  const bool lead = gold.task == Task::chart || gold.task == Task::math;
  const Reason reason = read_answer(answer, gold.settings.box, lead, text);
  if (reason != Reason::ok) return {0.0, reason};
  switch (gold.task) {
    case Task::yes_no:
      return score_yes_no(text, std::get<bool>(gold.answer));
    case Task::multiple_choice:
      return score_choice(text, std::get<ChoiceGold>(gold.answer));
    case Task::chart:
      return score_chart(text, std::get<ChartGold>(gold.answer), gold.settings);
    case Task::math:
      return score_math(text, std::get<MathGold>(gold.answer), gold.settings);
    case Task::grounding:
    case Task::open_ended:
      break;
  }
  return {kNaN, Reason::ok};
}

}  // namespace

Gold::Gold(const GoldSpec& spec)
    : task(spec.task),
      settings(spec.settings),
      think_open("<" + spec.settings.think_tag + ">"),
      think_close("</" + spec.settings.think_tag + ">"),
      answer_open("<" + spec.settings.answer_tag + ">"),
      answer_close("</" + spec.settings.answer_tag + ">") {
  for (const auto* texts : {&spec.answers, &spec.options}) {
    for (const std::string& text : *texts) valid = valid && !has_nul(text) && is_valid_utf8(text);
  }
  if (!valid) return;
  if (task == Task::yes_no) {
    valid = spec.answers.size() == 1 && (spec.answers[0] == "yes" || spec.answers[0] == "no");
    answer = valid && spec.answers[0] == "yes";
  } else if (task == Task::multiple_choice) {
    valid = compile_choice(spec.answers, spec.options, answer.emplace<ChoiceGold>());
  } else if (task == Task::chart) {
    valid = compile_chart(spec, answer.emplace<ChartGold>());
  } else if (task == Task::math) {
    valid = compile_math(spec, answer.emplace<MathGold>());
  }
}

Row unreadable(const Gold& gold, Reason reason) {
  Row row;
  set_format(row, gold, reason);
  set_task(row, gold, 0.0, reason);
  return row;
}

Row score(std::string_view completion, const Gold& gold, bool is_utf8, std::vector<double>& boxes) {
  const Reason bad = unreadable_reason(completion, gold.settings, is_utf8);
  if (bad != Reason::ok) return unreadable(gold, bad);
  completion = without_turn_end(completion);
  const Found found = find_answer(completion, gold);
  Row row;
  set_format(row, gold, found.format);
  if (found.task != Reason::ok) {
    set_task(row, gold, 0.0, found.task);
    return row;
  }
  const auto space_at = [&](std::size_t i) { return is_space(static_cast<unsigned char>(completion[i])); };
  std::size_t begin = found.begin, end = found.end;
  while (begin < end && space_at(begin)) ++begin;
  while (end > begin && space_at(end - 1)) --end;
  if (begin == end && gold.valid) {
    set_task(row, gold, 0.0, Reason::empty);
    return row;
  }
  row.begin = begin;
  row.end = end;
  const std::string_view answer = completion.substr(begin, end - begin);
  if (!gold.valid) {
    set_task(row, gold, kNaN, Reason::bad_gold);
  } else if (gold.task == Task::grounding) {
    const std::size_t before = boxes.size();
    const Reason reason = parse_boxes(answer, gold.settings, boxes);
    row.num_boxes = (boxes.size() - before) / 4;
    set_task(row, gold, reason == Reason::ok ? kNaN : 0.0, reason);
  } else if (gold.task != Task::open_ended && answer.size() > gold.settings.max_answer_bytes) {
    set_task(row, gold, 0.0, Reason::too_long);
  } else {
    Verdict verdict = score_text(answer, gold);
    for (const Gold& other : gold.others) {
      const Verdict found = score_text(answer, other);
      if (found.value > verdict.value) verdict = found;
    }
    set_task(row, gold, verdict.value, verdict.reason);
  }
  return row;
}

}  // namespace mixed_r1::verify
