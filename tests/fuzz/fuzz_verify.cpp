// A coverage-guided fuzzer of csrc/core/verify*.cpp, for GCC: -fsanitize-coverage=trace-pc calls
// __sanitizer_cov_trace_pc at every edge, inputs that reach new edges are kept and mutated further, and ASan
// and UBSan end the run at a fault.
//
//   fuzz_verify TABLES TARGET CORPUS NEW_CORPUS CRASH INPUTS SECONDS SEED
//
// Corpus files hold one input a line in hexadecimal. Runs INPUTS inputs, or for SECONDS where INPUTS is 0.
// The input that was running when a sanitizer stopped the program, or that took a second, is written to
// CRASH.
#include <sanitizer/common_interface_defs.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/verify.h"
#include "core/verify_unicode.h"

namespace {

constexpr std::size_t kEdges = 1 << 13;
unsigned char g_hits[kEdges];
thread_local std::size_t g_previous = 0;

std::string g_input;
const char* g_crash_path = nullptr;

using mixed_r1::verify::Format;
using mixed_r1::verify::Gold;
using mixed_r1::verify::GoldSpec;
using mixed_r1::verify::Reason;
using mixed_r1::verify::Row;
using mixed_r1::verify::Task;

void write_hex(std::ostream& out, const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out << kDigits[byte >> 4] << kDigits[byte & 15];
  }
  out << '\n';
}

void on_death() {
  std::ofstream out(g_crash_path);
  write_hex(out, g_input);
}

std::vector<std::string> read_corpus(const char* path) {
  std::vector<std::string> inputs;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < line.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16)));
    }
    inputs.push_back(std::move(bytes));
  }
  return inputs;
}

void load_tables(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const auto next = [&] {
    std::uint32_t size = 0;
    file.read(reinterpret_cast<char*>(&size), sizeof size);
    std::vector<std::uint32_t> values(size);
    file.read(reinterpret_cast<char*>(values.data()),
              static_cast<std::streamsize>(size * sizeof(std::uint32_t)));
    return values;
  };
  mixed_r1::verify::UnicodeTables tables;
  for (auto* map : {&tables.decompositions, &tables.case_folds}) {
    map->keys = next();
    map->offsets = next();
    map->values = next();
  }
  tables.class_keys = next();
  tables.class_values = next();
  tables.letter_bounds = next();
  tables.currency = next();
  if (!file) throw std::runtime_error("tables are cut off");
  mixed_r1::verify::set_unicode_tables(std::move(tables));
}

GoldSpec spec(Task task, std::vector<std::string> answers, bool is_list = false) {
  GoldSpec out;
  out.task = task;
  out.answers = std::move(answers);
  out.is_list = is_list;
  out.options = {"a cat", "A dog.", "\xC3\xA9t\xC3\xA9", "7"};
  out.settings.format = Format::none;
  return out;
}

// Golds of each target; the first byte of an input chooses one. Those of the target "gold" are read from the
// input.
std::map<std::string, std::vector<GoldSpec>> make_targets() {
  std::map<std::string, std::vector<GoldSpec>> targets;
  targets["yes_no"] = {spec(Task::yes_no, {"yes"}), spec(Task::yes_no, {"no"})};
  targets["choice"] = {spec(Task::multiple_choice, {"A"}), spec(Task::multiple_choice, {"D"}),
                       spec(Task::multiple_choice, {"B"}), spec(Task::multiple_choice, {"B"})};
  targets["choice"][2].options = {"30\xC2\xB0", "\\frac{1}{2}", "45 cm", "a 7"};
  targets["choice"][3].options = {"Yes", "No", "the cat"};
  targets["chart"] = {spec(Task::chart, {"42"}), spec(Task::chart, {"2015"}), spec(Task::chart, {"20%"}),
                      spec(Task::chart, {"0"}), spec(Task::chart, {"\xC3\x85land Islands"})};
  targets["chart"].push_back(targets["chart"][0]);
  targets["chart"].back().settings.graded = true;
  targets["chart"].push_back(targets["chart"][4]);
  targets["chart"].back().settings.anls = true;
  targets["list"] = {spec(Task::chart, {"1", "2,000", "red"}, true), spec(Task::chart, {"1"}, true)};
  targets["math"] = {spec(Task::math, {"7"}), spec(Task::math, {"\\frac{\\sqrt{2}}{2}"}),
                     spec(Task::math, {"[1,\\infty)\\cup\\{0\\}"})};
  targets["boxes"] = {spec(Task::grounding, {}), spec(Task::grounding, {})};
  targets["boxes"].back().settings.max_boxes = 2;
  targets["boxes"].back().settings.max_depth = 3;
  targets["boxes"].push_back(spec(Task::grounding, {}));
  targets["boxes"].back().settings.point = true;
  targets["gold"] = {spec(Task::chart, {}), spec(Task::math, {}), spec(Task::multiple_choice, {"A"})};
  for (const Format format : {Format::think_answer, Format::answer, Format::boxed, Format::none}) {
    GoldSpec open_ended = spec(Task::open_ended, {});
    open_ended.settings.format = format;
    targets["format"].push_back(open_ended);
  }
  return targets;
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  on_death();
  std::abort();
}

// What a row promises for any bytes.
void check(const std::string& text, const Row& row, const std::vector<double>& boxes, bool is_point) {
  const auto in_range = [](double value) { return std::isnan(value) || (value >= 0.0 && value <= 1.0); };
  require(in_range(row.format_value) && in_range(row.task_value), "a value is in [0, 1] or NaN");
  require(row.format_reason <= Reason::unevaluated && row.task_reason <= Reason::unevaluated,
          "known reasons");
  require(row.begin <= row.end && row.end <= text.size(), "the answer lies in the completion");
  require(boxes.size() == 4 * row.num_boxes, "boxes are counted");
  require(row.num_boxes == 0 || row.task_reason == Reason::ok, "boxes only where they count");
  for (std::size_t i = 0; i + 3 < boxes.size(); i += 4) {
    const bool flat = boxes[i] == boxes[i + 2] && boxes[i + 1] == boxes[i + 3];
    const bool area = boxes[i] < boxes[i + 2] && boxes[i + 1] < boxes[i + 3];
    require(is_point ? flat && row.num_boxes == 1 : area, "boxes have an area, and a point is one");
    for (std::size_t k = i; k < i + 4; ++k) require(std::fabs(boxes[k]) <= 1e9, "coordinates are bounded");
  }
}

class Fuzzer {
 public:
  Fuzzer(const std::vector<GoldSpec>& specs, bool golds_from_input, unsigned seed)
      : random_(seed), specs_(specs), golds_from_input_(golds_from_input) {
    if (golds_from_input) return;
    for (const GoldSpec& one : specs) golds_.emplace_back(one);
    for (const Gold& gold : golds_) require(gold.valid, "the golds of a target are valid");
  }

  // Runs an input; keeps it where it reaches new edges.
  bool run(const std::string& input) {
    g_input = input;
    std::memset(g_hits, 0, sizeof g_hits);
    g_previous = 0;
    if (!input.empty()) {
      const std::clock_t start = std::clock();  // processor time, whoever shares the machine
      score(static_cast<unsigned char>(input[0]) % specs_.size(), input.substr(1));
      const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      slowest_ = std::max(slowest_, seconds);
      require(seconds < 1.0, "a few kilobytes take no second");
    }
    bool fresh = false;
    for (std::size_t i = 0; i < kEdges; ++i) {
      if (g_hits[i] == 0) continue;
      const int bucket = g_hits[i] >= 128  ? 7
                         : g_hits[i] >= 32 ? 6
                         : g_hits[i] >= 16 ? 5
                         : g_hits[i] >= 8  ? 4
                         : g_hits[i] >= 4  ? 3
                         : g_hits[i] >= 3  ? 2
                                           : g_hits[i] - 1;
      const auto bit = static_cast<unsigned char>(1u << bucket);
      fresh = fresh || (seen_[i] & bit) == 0;
      seen_[i] |= bit;
    }
    if (fresh) corpus_.push_back(input);
    return fresh;
  }

  double slowest() const { return slowest_; }

  std::string mutated() {
    std::string text = corpus_.empty() ? std::string(1, '\0') : corpus_[below(corpus_.size())];
    for (std::size_t rounds = 1 + below(4); rounds > 0; --rounds) mutate(text);
    if (text.size() > kMaxLength) text.resize(kMaxLength);
    return text;
  }

  std::size_t edges() const {
    return static_cast<std::size_t>(
        std::count_if(seen_, seen_ + kEdges, [](unsigned char bits) { return bits != 0; }));
  }

  const std::vector<std::string>& corpus() const { return corpus_; }

 private:
  static constexpr std::size_t kMaxLength = 6000;

  void score(std::size_t which, const std::string& text) {
    // A copy of exactly the right size, so that ASan sees any read beyond it.
    const std::vector<char> bytes(text.begin(), text.end());
    const std::string_view completion(bytes.data(), bytes.size());
    std::vector<double> boxes;
    if (!golds_from_input_) {
      check(text, mixed_r1::verify::score(completion, golds_[which], false, boxes), boxes,
            specs_[which].settings.point);
      return;
    }
    GoldSpec spec = specs_[which];
    const bool is_option = spec.task == Task::multiple_choice;
    (is_option ? spec.options : spec.answers).assign(1, text);
    const Gold gold(spec);
    const Row row = mixed_r1::verify::score(completion, gold, false, boxes);
    check(text, row, boxes, false);
    // What stands before </think> is no answer; of several boxes a gold is the last, an answer none.
    const bool thinks = text.find("</think>") != std::string::npos;
    const bool whole = !thinks && row.task_reason != Reason::ambiguous && row.task_reason != Reason::too_long;
    const bool judged = gold.valid && !is_option && whole;
    require(!judged || row.task_value == 1.0, "an answer equals itself");
  }

  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }

  void mutate(std::string& text) {
    static const std::string kWords[] = {
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "\\boxed{",
        "yes",
        "no",
        "not",
        "isn't",
        "Answer: ",
        "option ",
        "(B)",
        "A or B",
        "1,234",
        "1e999",
        "nan",
        "-inf",
        "0.5",
        "42%",
        "$",
        "\xE2\x82\xAC",
        "\xE2\x88\x92",
        "million",
        "[",
        "]",
        "(1,2)",
        "(3,4)",
        "{",
        "}",
        "[1,2,3,4]",
        "\"bbox_2d\":",
        "\"",
        "\\",
        "true",
        "\\frac{",
        "\\sqrt[3]{",
        "\\pi",
        "^{",
        "\\cup",
        "\\infty",
        "\\{",
        "\\}",
        "\\left(",
        "^\\circ",
        "**",
        "\xCC\x81\xCC\xA3",
        "\xEF\xBC\x91",
        "\xC3\x9F",
        "\xEA\xB0\x80",
        "\xED\xA0\x80",
        "\xF4\x90\x80\x80",
        "99999999999999999999",
        ",",
        ";",
        "\n",
        "=",
    };
    const std::size_t at = below(text.size() + 1);
    switch (below(7)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 1:
        text.insert(at, 1, static_cast<char>(below(256)));
        break;
      case 2:
        text.erase(at, 1 + below(8));
        break;
      case 3:
      case 4:
        text.insert(at, kWords[below(std::size(kWords))]);
        break;
      case 5: {  // a piece of itself again, sometimes many times
        const std::string piece = text.substr(at, 1 + below(16));
        for (std::size_t times = 1 + (below(8) == 0 ? below(200) : 0); times > 0; --times)
          text.insert(at, piece);
        break;
      }
      default: {  // the rest of another input
        const std::string& other = corpus_.empty() ? text : corpus_[below(corpus_.size())];
        text = text.substr(0, at) + (other.empty() ? "" : other.substr(below(other.size())));
      }
    }
  }

  std::mt19937 random_;
  std::vector<GoldSpec> specs_;
  bool golds_from_input_;
  std::vector<Gold> golds_;
  double slowest_ = 0.0;
  std::vector<std::string> corpus_;
  unsigned char seen_[kEdges] = {};
};

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
  const auto pc = reinterpret_cast<std::size_t>(__builtin_return_address(0));
  const std::size_t place = pc * 0x9E3779B97F4A7C15u >> 48;
  unsigned char& hits = g_hits[(place ^ g_previous) % kEdges];
  if (hits < 255) ++hits;
  g_previous = place >> 1;
}

int main(int argc, char** argv) {
  if (argc != 9) return 2;
  g_crash_path = argv[5];
  __sanitizer_set_death_callback(on_death);
  load_tables(argv[1]);
  const auto targets = make_targets();
  const std::size_t limit = std::strtoull(argv[6], nullptr, 10);
  const double seconds = std::strtod(argv[7], nullptr);
  const auto seed = static_cast<unsigned>(std::strtoul(argv[8], nullptr, 10));
  static Fuzzer fuzzer(targets.at(argv[2]), std::string(argv[2]) == "gold", seed);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::size_t runs = 0;
  for (const std::string& input : read_corpus(argv[3])) {
    fuzzer.run(input);
    ++runs;
  }
  const std::size_t known = fuzzer.edges();
  while (limit > 0 ? runs < limit : elapsed() < seconds) {
    fuzzer.run(fuzzer.mutated());
    ++runs;
  }
  std::ofstream out(argv[4]);
  for (const std::string& input : fuzzer.corpus()) write_hex(out, input);
  std::printf(
      "%s: %zu inputs in %.0f s, %zu edges (%zu from the corpus), %zu kept, slowest %.1f ms with sanitizers, "
      "no finding\n",
      argv[2], runs, elapsed(), fuzzer.edges(), known, fuzzer.corpus().size(), fuzzer.slowest() * 1e3);
}
