#include "core/verify_find.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_space(static_cast<unsigned char>(c)); });
}

struct Tag {
  std::size_t at = 0;  // of the first, where there is one
  int count = 0;

  void found(std::size_t i) {
    if (count++ == 0) at = i;
  }
};

enum : std::size_t { kAnswerOpen, kAnswerClose, kThinkOpen, kThinkClose };

// The tags of a text or of its part behind the thought, and how the answer lies to further thoughts.
struct Tags {
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

  void clear() {
    for (Tag& each : tag) each.count = 0;
    thinking = thought_in_answer = thought_ends_later = false;
  }

  // Whether a think tag lies in the answer, or the answer in a think block that is closed behind it.
  bool nested() const { return thought_in_answer || (thinking && thought_ends_later); }

  std::array<Tag, 4> tag;
  bool thinking = false;  // before the answer: the last think tag there opens
  bool thought_in_answer = false;
  bool thought_ends_later = false;
};

// Calls found(which, where) for each tag in one pass over the "<" of the text.
template <class Visit>
void each_tag(std::string_view text, const Gold& gold, Visit found) {
  const std::array<std::string_view, 4> names = {gold.answer_open, gold.answer_close, gold.think_open,
                                                 gold.think_close};
  std::size_t i = 0;
  while (i < text.size()) {
    const void* next = std::memchr(text.data() + i, '<', text.size() - i);
    if (next == nullptr) return;
    i = static_cast<std::size_t>(static_cast<const char*>(next) - text.data());
    const char next_char = i + 1 < text.size() ? text[i + 1] : '<';
    std::size_t length = 1;
    for (std::size_t t = 0; t < names.size(); ++t) {
      const std::string_view name = names[t];
      if (next_char == name[1] && text.compare(i, name.size(), name) == 0) {
        found(t, i);
        length = name.size();
        break;
      }
    }
    i += length;
  }
}

// All tags of the text, and those behind the thought, which ends at the first </think> where it comes before any
// <answer>, and was opened by the text or (prefilled) by the prompt.
struct Scan {
  Scan(std::string_view text, const Gold& gold) {
    each_tag(text, gold, [&](std::size_t which, std::size_t i) {
      all.found(which, i);
      const bool first_close = which == kThinkClose && all.tag[kThinkClose].count == 1;
      const Tag &answer = all.tag[kAnswerOpen], &think = all.tag[kThinkOpen];
      const bool opened = think.count > 0 && (answer.count == 0 || think.at < answer.at);
      if (first_close && (gold.settings.prefilled || opened)) {
        thought_end = i + gold.think_close.size();
        answer_in_thought = all.tag[kAnswerOpen].count > 0;
        behind.clear();
      } else {
        behind.found(which, i);
      }
    });
  }

  Tags all, behind;
  std::size_t thought_end = 0;
  bool answer_in_thought = false;
};

Reason counts_reason(std::initializer_list<int> counts) {
  bool twice = false, none = false;
  for (const int n : counts) {
    twice = twice || n > 1;
    none = none || n == 0;
  }
  return twice ? Reason::duplicate_tag : none ? Reason::no_answer_tag : Reason::ok;
}

// How often the text and the prompt open the thought.
int times_opened(const Scan& scan, const Gold& gold) {
  const int count = scan.all.tag[kThinkOpen].count;
  return gold.settings.prefilled ? count + 1 : count;
}

Found find_tagged(std::string_view text, const Gold& gold, bool with_think) {
  const Scan scan(text, gold);
  const Tag &open = scan.behind.tag[kAnswerOpen], &close = scan.behind.tag[kAnswerClose];
  const auto& all = scan.all.tag;
  Found found;
  found.task = counts_reason({open.count, close.count});
  if (found.task == Reason::no_answer_tag && scan.answer_in_thought) found.task = Reason::tag_order;
  if (found.task == Reason::ok && close.at < open.at) found.task = Reason::tag_order;
  if (with_think && found.task == Reason::ok && scan.behind.nested()) found.task = Reason::tag_order;
  found.begin = open.count > 0 ? open.at + gold.answer_open.size() : 0;
  found.end = close.count > 0 ? close.at : 0;
  found.format = found.task;
  if (!with_think) {
    if (found.task == Reason::ok) found.format = counts_reason({all[kAnswerOpen].count, all[kAnswerClose].count});
    return found;
  }
  found.format = counts_reason(
      {times_opened(scan, gold), all[kThinkClose].count, all[kAnswerOpen].count, all[kAnswerClose].count});
  if (found.format != Reason::ok) return found;
  const bool prefilled = gold.settings.prefilled;
  const std::size_t begin = prefilled ? 0 : all[kThinkOpen].at, end = all[kThinkClose].at;
  const std::size_t thought_end = end + gold.think_close.size();
  if (found.task != Reason::ok || !((prefilled || begin < end) && end < open.at)) {
    found.format = Reason::tag_order;
  } else if (!is_blank(text.substr(0, begin)) || !is_blank(text.substr(close.at + gold.answer_close.size())) ||
             !is_blank(text.substr(thought_end, open.at - thought_end))) {
    found.format = Reason::text_outside_tags;
  }
  return found;
}

// A box behind the thought; of several the last, or all the same.
Found find_box(std::string_view text, std::size_t thought_end, const Gold& gold) {
  std::vector<std::pair<std::size_t, std::size_t>> boxes;
  const std::string_view rest = text.substr(thought_end);
  find_boxes(rest, boxes);
  if (boxes.empty()) return {Reason::no_answer_tag, Reason::no_answer_tag};
  std::string_view chosen;
  if (commit(rest, gold.settings.box, chosen) != Reason::ok) return {Reason::duplicate_tag, Reason::duplicate_tag};
  return {Reason::ok, Reason::ok, boxes.back().first + thought_end, boxes.back().second + thought_end};
}

Found find_think_boxed(std::string_view text, const Gold& gold) {
  const Scan scan(text, gold);
  Found found = find_box(text, scan.thought_end, gold);
  const Reason counts = counts_reason({times_opened(scan, gold), scan.all.tag[kThinkClose].count});
  const auto worse = [](Reason a, Reason b) {
    for (const Reason reason : {Reason::duplicate_tag, Reason::no_answer_tag}) {
      if (a == reason || b == reason) return reason;
    }
    return Reason::ok;
  };
  found.format = worse(counts, found.task);
  if (found.format != Reason::ok) return found;
  const std::size_t begin = gold.settings.prefilled ? 0 : scan.all.tag[kThinkOpen].at;
  if (scan.thought_end == 0 || found.begin < scan.thought_end) {
    found.format = Reason::tag_order;
  } else if (!is_blank(text.substr(0, begin))) {
    found.format = Reason::text_outside_tags;
  }
  return found;
}

}  // namespace

std::string_view without_turn_end(std::string_view text) {
  static constexpr std::string_view kTokens[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",   "<|end|>",
                                                 "</s>",       "<eos>",         "<end_of_turn>"};
  while (true) {
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
    const auto token = std::find_if(std::begin(kTokens), std::end(kTokens),
                                    [&](std::string_view name) { return text.ends_with(name); });
    if (token == std::end(kTokens)) return text;
    text.remove_suffix(token->size());
  }
}

Found find_answer(std::string_view text, const Gold& gold) {
  switch (gold.settings.format) {
    case Format::think_answer:
      return find_tagged(text, gold, true);
    case Format::answer:
      return find_tagged(text, gold, false);
    case Format::boxed:
      return find_box(text, Scan(text, gold).thought_end, gold);
    case Format::think_boxed:
      return find_think_boxed(text, gold);
    case Format::none:
      break;
  }
  return {Reason::ok, Reason::ok, Scan(text, gold).thought_end, text.size()};
}

}  // namespace mixed_r1::verify
