// Words before an answer: leads, and sentences that state a value. What each is stands in reference_leads.py.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/verify_reading.h"
#include "core/verify_reason.h"

namespace mixed_r1::verify {

using Nouns = std::initializer_list<std::u32string_view>;

// Where `text` goes on after "[so] [the] [correct] answer [is] [:]", in Chinese too; 0 without such a lead.
std::size_t after_lead(std::u32string_view text, Nouns nouns);

// What `text` commits to, normalised; with `lead`, what follows such words as "The answer is". Not ok: see commit.
Reason read_answer(std::string_view text, Box box, bool lead, std::u32string& out);

// What a normalised sentence states; empty where that is nothing new.
std::u32string stated(std::u32string_view text);

}  // namespace mixed_r1::verify
