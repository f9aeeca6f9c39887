#include "core/verify.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/verify_unicode.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kNowhere = std::string_view::npos;

bool has_nul(std::string_view text) { return text.find(char{0}) != std::string_view::npos; }

bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_space(static_cast<unsigned char>(c)); });
}

struct Tag {
  std::string_view name;
  std::size_t at = kNowhere;
  int count = 0;

  void found(std::size_t i) {
    if (count++ == 0) at = i;
  }
  std::size_t end() const { return at + name.size(); }
};

enum : std::size_t { kAnswerOpen, kAnswerClose, kThinkOpen, kThinkClose };

// The tags of a text, and how the answer lies to the thoughts.
struct Tags {
  explicit Tags(const Gold& gold)
      : tag{{{gold.answer_open}, {gold.answer_close}, {gold.think_open}, {gold.think_close}}} {}

  void found(std::size_t which, std::size_t i) {
    tag[which].found(i);
    if (which < kThinkOpen) return;
    if (tag[kAnswerOpen].count == 0) {
      thinking = which == kThinkOpen;
    } else if (tag[kAnswerClose].count == 0) {
      thought_in_answer = true;
    } else {
      thought_ends_later = thought_ends_later || which == kThinkClose;
    }
  }

  // Whether a think tag lies in the answer, or the answer in a think block that is closed behind it.
  bool nested() const { return thought_in_answer || (thinking && thought_ends_later); }

  std::array<Tag, 4> tag;
  bool thinking = false;  // before the answer: the last think tag there opens
  bool thought_in_answer = false;
  bool thought_ends_later = false;
};

// Finds the first num_tags tags in one pass over the "<" of the text.
void find_tags(std::string_view text, Tags& tags, std::size_t num_tags) {
  std::size_t i = 0;
  while (i < text.size()) {
    const void* next = std::memchr(text.data() + i, '<', text.size() - i);
    if (next == nullptr) return;
    i = static_cast<std::size_t>(static_cast<const char*>(next) - text.data());
    const char next_char = i + 1 < text.size() ? text[i + 1] : '<';
    std::size_t length = 1;
    for (std::size_t t = 0; t < num_tags; ++t) {
      const std::string_view name = tags.tag[t].name;
      if (next_char == name[1] && text.compare(i, name.size(), name) == 0) {
        tags.found(t, i);
        length = name.size();
        break;
      }
    }
    i += length;
  }
}

// Where the answer is (task ok), and whether the completion keeps the format.
struct Found {
  Reason task = Reason::ok;
  Reason format = Reason::ok;
  std::size_t begin = 0, end = 0;
};

Reason counts_reason(std::initializer_list<const Tag*> tags) {
  const auto any = [&](auto test) { return std::any_of(tags.begin(), tags.end(), test); };
  if (any([](const Tag* tag) { return tag->count > 1; })) return Reason::duplicate_tag;
  if (any([](const Tag* tag) { return tag->count == 0; })) return Reason::no_answer_tag;
  return Reason::ok;
}

Found find_tagged(std::string_view text, const Gold& gold, bool with_think) {
  Tags tags(gold);
  find_tags(text, tags, with_think ? 4 : 2);
  const auto& [open, close, think, unthink] = tags.tag;
  Found found;
  found.task = counts_reason({&open, &close});
  if (found.task == Reason::ok && (close.at < open.at || tags.nested())) found.task = Reason::tag_order;
  found.begin = open.end();
  found.end = close.at;
  found.format = found.task;
  if (!with_think) return found;
  found.format = counts_reason({&open, &close, &think, &unthink});
  if (found.format != Reason::ok) return found;
  if (!(think.at < unthink.at && unthink.at < open.at && open.at < close.at)) {
    found.format = Reason::tag_order;
  } else if (!is_blank(text.substr(0, think.at)) || !is_blank(text.substr(close.end())) ||
             !is_blank(text.substr(unthink.end(), open.at - unthink.end()))) {
    found.format = Reason::text_outside_tags;
  }
  return found;
}

Found find_boxed(std::string_view text) {
  constexpr std::string_view kOpen = "\\boxed{";
  const std::size_t at = text.find(kOpen);
  if (at == kNowhere) return {Reason::no_answer_tag, Reason::no_answer_tag};
  const std::size_t begin = at + kOpen.size();
  if (text.find(kOpen, begin) != kNowhere) return {Reason::duplicate_tag, Reason::duplicate_tag};
  std::size_t depth = 1;
  for (std::size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return {Reason::ok, Reason::ok, begin, i};
    }
  }
  return {Reason::no_answer_tag, Reason::no_answer_tag};
}

Found find_answer(std::string_view text, const Gold& gold) {
  switch (gold.settings.format) {
    case Format::think_answer:
      return find_tagged(text, gold, true);
    case Format::answer:
      return find_tagged(text, gold, false);
    case Format::boxed:
      return find_boxed(text);
    case Format::none:
      break;
  }
  return {Reason::ok, Reason::ok, 0, text.size()};
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

Verdict score_text(std::string_view answer, const Gold& gold) {
  switch (gold.task) {
    case Task::yes_no:
      return score_yes_no(answer, std::get<bool>(gold.answer));
    case Task::multiple_choice:
      return score_choice(answer, std::get<ChoiceGold>(gold.answer));
    case Task::chart:
      return score_chart(answer, std::get<ChartGold>(gold.answer), gold.settings);
    case Task::math:
      return score_math(answer, std::get<MathValue>(gold.answer));
    case Task::grounding:
    case Task::open_ended:
      break;
  }
  return {kNaN, Reason::ok};
}

bool compile_choice(const GoldSpec& spec, ChoiceGold& out) {
  const std::size_t count = spec.options.size();
  if (count < 1 || count > 26 || spec.answers.size() != 1 || spec.answers[0].size() != 1) return false;
  const char letter = spec.answers[0][0];
  if (letter < 'A' || letter >= static_cast<char>('A' + count)) return false;
  out.index = static_cast<std::size_t>(letter - 'A');
  for (const std::string& option : spec.options) plain(decode_utf8(option), out.options.emplace_back());
  return true;
}

bool compile_chart(const GoldSpec& spec, ChartGold& out) {
  const Settings& settings = spec.settings;
  if (spec.answers.empty() || spec.answers.size() > settings.max_items) return false;
  out.is_list = spec.is_list;
  for (const std::string& answer : spec.answers) {
    if (answer.size() > settings.max_answer_bytes) return false;
    const std::u32string text = decode_utf8(answer);
    std::u32string_view body = text;
    while (!body.empty() && is_space(body.front())) body.remove_prefix(1);
    while (!body.empty() && is_space(body.back())) body.remove_suffix(1);
    ChartItem item;
    const Reason reason = read_number(body, item.number);
    item.is_number = reason == Reason::ok;
    plain(text, item.text);
    if (reason == Reason::non_finite || item.text.empty()) return false;
    out.items.push_back(std::move(item));
  }
  return true;
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
    valid = compile_choice(spec, answer.emplace<ChoiceGold>());
  } else if (task == Task::chart) {
    valid = compile_chart(spec, answer.emplace<ChartGold>());
  } else if (task == Task::math) {
    valid =
        spec.answers.size() == 1 && read_math(decode_utf8(spec.answers[0]), answer.emplace<MathValue>()) == Reason::ok;
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
    const Verdict verdict = score_text(answer, gold);
    set_task(row, gold, verdict.value, verdict.reason);
  }
  return row;
}

}  // namespace mixed_r1::verify
