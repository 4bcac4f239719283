/* Lists of choices as text: what is written is read, and what nobody wrote is refused with the line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/choices.h"
#include "tests/unit/unit.h"

#define HEAD "lockstep-choices 1\n"
#define LINE "conv1 forward bfloat16 8x3x16x16 = cudnn engine 12 knobs 2=1\n"

static void a_list_is_read_as_it_was_written(void **state) {
    (void)state;
    lk_choices *list = NULL, *again = NULL;
    char *text = NULL, *same = NULL, key[LK_CHOICE_KEY_SIZE];
    lk_op_desc desc = {.kind = LK_OP_CONV2D, .compute = LK_F32, .tf32 = true, .x = {LK_F32, 8, 3, 16, 20, 4}};
    assert_int_equal(lk_choices_create(&list, NULL), LK_OK);
    lk_choice_key(key, sizeof key, "layer1.0.conv1", &desc, LK_PASS_WEIGHT);
    assert_string_equal(key, "layer1.0.conv1 weight tf32 8x3x16x20");
    assert_int_equal(lk_choices_add(list, key, "one = two", NULL), LK_OK);
    assert_int_equal(lk_choices_add(list, key, "one = two", NULL), LK_OK); /* a plan of another mode has it too */
    assert_int_equal(lk_choices_add(list, "fc data bfloat16 8x3x1x1", "cublaslt algorithm 7 words", NULL), LK_OK);
    assert_int_equal(lk_choices_add(list, key, "three", NULL), LK_ERR_INTERNAL);
    assert_int_equal(lk_choices_write(list, &text, NULL), LK_OK);
    assert_int_equal(lk_choices_parse(&again, text, "a.h5", NULL), LK_OK);
    assert_int_equal(lk_choices_count(again), 2);
    assert_string_equal(lk_choices_find(again, key), "one = two");
    assert_null(lk_choices_find(again, "layer1.0.conv1 weight tf32 8x3x16x2"));
    assert_null(lk_choices_find(NULL, key));
    assert_int_equal(lk_choices_write(again, &same, NULL), LK_OK);
    assert_string_equal(text, same);
    lk_free(text);
    lk_free(same);
    lk_choices_free(list);
    lk_choices_free(again);
}

static void refused(const char *text, const char *why) {
    lk_choices *list = NULL;
    lk_error err = {0};
    assert_int_equal(lk_choices_parse(&list, text, "a.h5", &err), LK_ERR_DATA);
    assert_null(list);
    assert_non_null(strstr(err.message, "a.h5"));
    if (strstr(err.message, why) == NULL) fail_msg("'%s' lacks '%s'", err.message, why);
}

static void what_is_none_is_refused_with_its_line(void **state) {
    (void)state;
    refused("", "not one that this program");
    refused("lockstep-choices 2\n", "not one that this program");
    refused(HEAD LINE "conv1", "line 3 of its list of engines is cut off");
    refused(HEAD "conv1 forward bfloat16 8x3x16x16 cudnn\n", "line 2 of its list of engines is not a layer's pass");
    refused(HEAD "conv1 forward 8x3x16x16 = cudnn\n", "is not a layer's pass");
    refused(HEAD "conv1 forward bfloat16 8x3x16x16 = \n", "is not a layer's pass");
    refused(HEAD " = x\n", "is not a layer's pass");
    refused(HEAD "\n", "is not a layer's pass");
    refused(HEAD "conv1 forward bfloat16 8x3x16x16 = \x7f\n", "no text");
    refused(HEAD LINE LINE, "line 3 of its list of engines names a pass for the second time");
    char *text = NULL;
    const size_t size = 1 << 20;
    assert_int_equal(LK_NEW(&text, size, "a text", NULL), LK_OK);
    size_t length = (size_t)snprintf(text, size, HEAD "a b c d = ");
    memset(text + length, 'x', LK_CHOICE_SIZE);
    memcpy(text + length + LK_CHOICE_SIZE, "\n", 2);
    refused(text, "line 2 of its list of engines is too long");
    memset(text + length, 'x', 2 * LK_CHOICE_SIZE);
    memcpy(text + length + 2 * LK_CHOICE_SIZE, "\n", 2);
    refused(text, "too long");
    length = (size_t)snprintf(text, size, HEAD);
    for (int i = 0; i <= LK_CHOICES_MOST; i++)
        length += (size_t)snprintf(text + length, size - length, "conv%d forward f32 1x1x1x1 = x\n", i);
    refused(text, "is one too many");
    lk_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_read_as_it_was_written),
        cmocka_unit_test(what_is_none_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
