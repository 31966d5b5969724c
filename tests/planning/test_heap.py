"""The rules of mallopt(3), each seen alone."""

from accorda.planning.heap import MAPPED_FROM, MAPPED_FROM_AT_MOST, PAD, Heap

MB = 1 << 20


def test_large_blocks_are_mapped_and_given_back():
    heap = Heap()
    heap.allocate(1, 10 * MB)
    assert heap.mapped >= 10 * MB
    assert heap.touched == 0
    heap.free(1)
    assert heap.resident == 0


def test_freeing_a_mapped_block_keeps_the_next_of_its_size_in_the_heap():
    heap = Heap()
    heap.allocate(1, 10 * MB)
    heap.free(1)
    heap.allocate(2, 5 * MB)
    assert heap.mapped == 0
    assert 5 * MB <= heap.resident <= 5 * MB + 4096


def test_beyond_the_largest_threshold_blocks_stay_mapped():
    heap = Heap()
    for number in range(3):
        heap.allocate(number, MAPPED_FROM_AT_MOST + 1)
        heap.free(number)
    heap.allocate(9, MAPPED_FROM_AT_MOST + 1)
    assert heap.touched == 0


def test_a_hole_below_a_living_block_is_held_and_used_again():
    heap = Heap()
    heap.allocate(0, 4 * MB)
    heap.free(0)
    heap.allocate(1, 2 * MB)
    heap.allocate(2, 1000)
    heap.free(1)
    assert heap.resident >= 2 * MB
    before = heap.resident
    heap.allocate(3, 1 * MB)
    heap.allocate(4, MB - 1000)
    assert heap.resident == before


def test_free_neighbours_become_one_piece():
    heap = Heap()
    heap.mapped_from = heap.trim_from = MAPPED_FROM_AT_MOST
    for number in range(4):
        heap.allocate(number, MB)
    heap.free(1)
    heap.free(2)
    before = heap.resident
    heap.allocate(5, 2 * MB - 4096)
    assert heap.resident == before


def test_the_end_of_the_heap_shrinks_when_it_is_large():
    heap = Heap()
    small = MAPPED_FROM // 2
    for number in range(8):
        heap.allocate(number, small)
    high = heap.resident
    for number in reversed(range(8)):
        heap.free(number)
    assert high >= 8 * small
    assert heap.resident <= PAD + 4096
