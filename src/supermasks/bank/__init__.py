"""Where learned tasks are kept: in memory and in a folder."""

from supermasks.bank.bank import BankHeader, MaskBank
from supermasks.bank.folder import BankFolder

__all__ = ["BankFolder", "BankHeader", "MaskBank"]
